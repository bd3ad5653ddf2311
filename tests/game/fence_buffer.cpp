// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fence_buffer.hpp"

#include <sys/eventfd.h>

#include <algorithm>

#include "base/dma_heap.hpp"
#include "base/udmabuf.hpp"
#include "linux-dmabuf-v1-client-protocol.h"
#include "linux-drm-syncobj-v1-client-protocol.h"

namespace stepscope::testgame {
namespace {

constexpr size_t kStrideAlignment = 256;

size_t stride_of(int width) {
    return (static_cast<size_t>(width) * 4 + kStrideAlignment - 1) / kStrideAlignment *
           kStrideAlignment;
}

}  // namespace

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

Result<DmaBuf> allocate_picture(MemorySource source, size_t size) {
    if (source == MemorySource::udmabuf) {
        return Udmabuf::open().and_then(
            [&](const Udmabuf& device) { return device.allocate(size); });
    }
    return DmaHeap::open("system").and_then(
        [&](const DmaHeap& heap) { return heap.allocate(size); });
}

FenceBuffer::FenceBuffer(const FenceDevices& devices, DmaBuf memory, DmaBufMapping mapping,
                         int width, int height)
    : devices_(devices),
      memory_(std::move(memory)),
      mapping_(std::move(mapping)),
      width_(width),
      height_(height) {}

FenceBuffer::~FenceBuffer() {
    for (wp_linux_drm_syncobj_timeline_v1* timeline : {acquire_proxy_, release_proxy_}) {
        if (timeline != nullptr) {
            wp_linux_drm_syncobj_timeline_v1_destroy(timeline);
        }
    }
    if (buffer_ != nullptr) {
        wl_buffer_destroy(buffer_);
    }
}

frame_code::Pixels FenceBuffer::pixels() const {
    return {reinterpret_cast<uint8_t*>(mapping_.bytes().data()), width_, height_,
            stride_of(width_)};
}

Result<void> FenceBuffer::create(zwp_linux_dmabuf_v1* dmabuf,
                                 wp_linux_drm_syncobj_manager_v1* manager, uint32_t format) {
    format_ = format;
    zwp_linux_buffer_params_v1* params = zwp_linux_dmabuf_v1_create_params(dmabuf);
    zwp_linux_buffer_params_v1_add(params, memory_.fd(), 0, 0,
                                   static_cast<uint32_t>(stride_of(width_)), 0, 0);
    buffer_ = zwp_linux_buffer_params_v1_create_immed(params, width_, height_, format, 0);
    zwp_linux_buffer_params_v1_destroy(params);
    static const wl_buffer_listener listener{.release = [](void* data, wl_buffer*) {
        static_cast<FenceBuffer*>(data)->handle_wayland_release();
    }};
    wl_buffer_add_listener(buffer_, &listener, this);
    if (manager == nullptr) {
        return {};
    }
    released_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (auto [timeline, proxy] :
         {std::pair(&acquire_, &acquire_proxy_), std::pair(&release_, &release_proxy_)}) {
        auto created = Timeline::create(devices_.timelines.get());
        if (!created) {
            return std::unexpected(created.error());
        }
        timeline->emplace(std::move(*created));
        auto fd = (*timeline)->export_fd();
        if (!fd) {
            return std::unexpected(fd.error());
        }
        *proxy = wp_linux_drm_syncobj_manager_v1_import_timeline(manager, fd->get());
    }
    auto scratch = allocate_picture(MemorySource::udmabuf, 4096);
    if (!scratch) {
        return std::unexpected(scratch.error());
    }
    scratch_.emplace(std::move(*scratch));
    return {};
}

Result<void> FenceBuffer::set_points(wp_linux_drm_syncobj_surface_v1* surface) {
    auto fence = scratch_->export_sync_file(BufferAccess::read);
    if (!fence) {
        return std::unexpected(fence.error());
    }
    ++point_;
    if (auto put = acquire_->import_point(point_, *fence); !put) {
        return put;
    }
    const auto high = static_cast<uint32_t>(point_ >> 32);
    const auto low = static_cast<uint32_t>(point_);
    wp_linux_drm_syncobj_surface_v1_set_acquire_point(surface, acquire_proxy_, high, low);
    wp_linux_drm_syncobj_surface_v1_set_release_point(surface, release_proxy_, high, low);
    return release_->notify(point_, Timeline::Until::signaled, released_.get());
}

Result<void> FenceBuffer::begin(wp_linux_drm_syncobj_surface_v1* surface) {
    // Whoever still reads, or reads too early, sees this.
    std::ranges::fill(mapping_.bytes(), std::byte{0xa5});
    busy_ = true;
    auto fence =
        devices_.vgem.attach(surface != nullptr ? *scratch_ : memory_, BufferAccess::write);
    if (!fence) {
        return std::unexpected(fence.error());
    }
    fence_ = *fence;
    return surface != nullptr ? set_points(surface) : Result<void>();
}

Result<void> FenceBuffer::finish() {
    auto signalled = fence_->signal();
    fence_.reset();
    return signalled;
}

bool FenceBuffer::check_release() {
    eventfd_t ignored = 0;
    eventfd_read(released_.get(), &ignored);
    auto signalled = release_->wait(point_, Timeline::Until::signaled, std::chrono::nanoseconds(0));
    if (!signalled || !*signalled || !busy_) {
        return false;
    }
    busy_ = false;
    return true;
}

void FenceBuffer::handle_wayland_release() {
    if (!release_) {
        busy_ = false;
    }
}

}  // namespace stepscope::testgame
