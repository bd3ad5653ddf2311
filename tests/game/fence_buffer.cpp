// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fence_buffer.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "base/udmabuf.hpp"
#include "linux-dmabuf-v1-client-protocol.h"
#include "linux-drm-syncobj-v1-client-protocol.h"
#include "picture_memory.hpp"

namespace stepscope::testgame {

Result<FenceDevices> FenceDevices::open(bool explicit_sync) {
    auto vgem = testing::Vgem::open();
    if (!vgem) {
        return std::unexpected(vgem.error());
    }
    FenceDevices devices{std::move(*vgem), {}};
    if (!explicit_sync) {
        return devices;
    }
    for (const testing::RenderNode& node : testing::render_nodes()) {
        auto device = testing::open_render_node(node.driver);
        if (device && Timeline::supported(device->get())) {
            devices.timelines = std::move(*device);
            return devices;
        }
    }
    return fail(Fault::unsupported, "no render node has timeline syncobjs");
}

FenceBuffer::FenceBuffer(const FenceDevices& devices, Picture picture, PictureLayout layout,
                         int width, int height)
    : devices_(devices),
      picture_(std::move(picture)),
      layout_(layout),
      width_(width),
      height_(height) {}

FenceBuffer::Points::~Points() {
    for (wp_linux_drm_syncobj_timeline_v1* timeline : {acquire_proxy, release_proxy}) {
        if (timeline != nullptr) {
            wp_linux_drm_syncobj_timeline_v1_destroy(timeline);
        }
    }
}

FenceBuffer::~FenceBuffer() {
    if (buffer_ != nullptr) {
        wl_buffer_destroy(buffer_);
    }
}

frame_code::Pixels FenceBuffer::pixels() const {
    const nv12_frame::Plane rows = plane(0);
    return {rows.data, width_, height_, rows.stride};
}

nv12_frame::Plane FenceBuffer::plane(unsigned index) const {
    if (index >= picture_.planes.size()) {
        return {};
    }
    const PicturePlane& plane = picture_.planes[index];
    const auto bytes = picture_.files[plane.file].mapping.bytes().subspan(plane.offset);
    const auto rows = static_cast<size_t>(height_) / (index + 1);
    return {reinterpret_cast<uint8_t*>(bytes.data()), row_bytes(layout_, width_), rows,
            plane.stride};
}

Result<void> FenceBuffer::create(zwp_linux_dmabuf_v1* dmabuf,
                                 wp_linux_drm_syncobj_manager_v1* manager, uint32_t format) {
    format_ = format;
    zwp_linux_buffer_params_v1* params = zwp_linux_dmabuf_v1_create_params(dmabuf);
    uint32_t index = 0;
    for (const PicturePlane& plane : picture_.planes) {
        zwp_linux_buffer_params_v1_add(params, picture_.files[plane.file].memory.fd(), index++,
                                       static_cast<uint32_t>(plane.offset),
                                       static_cast<uint32_t>(plane.stride), 0, 0);
    }
    buffer_ = zwp_linux_buffer_params_v1_create_immed(params, width_, height_, format, 0);
    zwp_linux_buffer_params_v1_destroy(params);
    static const wl_buffer_listener listener{.release = [](void* data, wl_buffer*) {
        static_cast<FenceBuffer*>(data)->handle_wayland_release();
    }};
    wl_buffer_add_listener(buffer_, &listener, this);
    return manager != nullptr ? create_points(manager) : Result<void>();
}

Result<void> FenceBuffer::create_points(wp_linux_drm_syncobj_manager_v1* manager) {
    auto scratch =
        Udmabuf::open().and_then([](const Udmabuf& device) { return device.allocate(4096); });
    if (!scratch) {
        return std::unexpected(scratch.error());
    }
    auto acquire = Timeline::create(devices_.timelines.get());
    if (!acquire) {
        return std::unexpected(acquire.error());
    }
    auto release = Timeline::create(devices_.timelines.get());
    if (!release) {
        return std::unexpected(release.error());
    }
    points_ =
        std::make_unique<Points>(std::move(*scratch), std::move(*acquire), std::move(*release));
    points_->released.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (auto [timeline, proxy] : {std::pair(&points_->acquire, &points_->acquire_proxy),
                                   std::pair(&points_->release, &points_->release_proxy)}) {
        auto fd = timeline->export_fd();
        if (!fd) {
            return std::unexpected(fd.error());
        }
        *proxy = wp_linux_drm_syncobj_manager_v1_import_timeline(manager, fd->get());
    }
    return {};
}

Result<void> FenceBuffer::set_points(wp_linux_drm_syncobj_surface_v1* surface, Points& points) {
    auto fence = points.scratch.export_sync_file(BufferAccess::read);
    if (!fence) {
        return std::unexpected(fence.error());
    }
    ++points.last;
    if (auto put = points.acquire.import_point(points.last, *fence); !put) {
        return put;
    }
    const auto high = static_cast<uint32_t>(points.last >> 32);
    const auto low = static_cast<uint32_t>(points.last);
    wp_linux_drm_syncobj_surface_v1_set_acquire_point(surface, points.acquire_proxy, high, low);
    wp_linux_drm_syncobj_surface_v1_set_release_point(surface, points.release_proxy, high, low);
    return points.release.notify(points.last, Timeline::Until::signaled, points.released.get());
}

Result<void> FenceBuffer::begin(wp_linux_drm_syncobj_surface_v1* surface) {
    // Whoever still reads, or reads too early, sees this.
    for (const PictureFile& file : picture_.files) {
        std::ranges::fill(file.mapping.bytes(), std::byte{0xa5});
    }
    busy_ = true;
    for (const PictureFile& file : picture_.files) {
        auto fence =
            devices_.vgem.attach(points_ ? points_->scratch : file.memory, BufferAccess::write);
        if (!fence) {
            return std::unexpected(fence.error());
        }
        fences_.push_back(*fence);
        if (points_) {
            break;  // one point is for all of them
        }
    }
    return points_ ? set_points(surface, *points_) : Result<void>();
}

Result<void> FenceBuffer::finish() {
    for (const auto& fence : std::exchange(fences_, {})) {
        if (auto signalled = fence.signal(); !signalled) {
            return signalled;
        }
    }
    return {};
}

bool FenceBuffer::check_release() {
    if (!points_) {
        return false;
    }
    eventfd_t ignored = 0;
    eventfd_read(points_->released.get(), &ignored);
    auto signalled = points_->release.wait(points_->last, Timeline::Until::signaled,
                                           std::chrono::nanoseconds(0));
    if (!signalled || !*signalled || !busy_) {
        return false;
    }
    busy_ = false;
    return true;
}

void FenceBuffer::handle_wayland_release() {
    if (!points_) {
        busy_ = false;
    }
}

}  // namespace stepscope::testgame
