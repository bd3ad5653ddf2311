// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fence_buffer.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "base/dma_heap.hpp"
#include "base/udmabuf.hpp"
#include "linux-dmabuf-v1-client-protocol.h"
#include "linux-drm-syncobj-v1-client-protocol.h"

namespace stepscope::testgame {
namespace {

constexpr size_t kStrideAlignment = 256;

bool has_chroma(PictureLayout layout) {
    return layout == PictureLayout::nv12 || layout == PictureLayout::nv12_two_files;
}

/** Bytes of a row of the first plane. */
size_t row_of(PictureLayout layout, int width) {
    const size_t bytes = has_chroma(layout) ? 1 : layout == PictureLayout::half_float ? 8 : 4;
    return static_cast<size_t>(width) * bytes;
}

size_t stride_of(PictureLayout layout, int width) {
    const size_t row = row_of(layout, width);
    return (row + kStrideAlignment - 1) / kStrideAlignment * kStrideAlignment;
}

/** Nothing that could be guessed lies between luma and chroma. */
constexpr size_t kGap = 4096;

/** Where chroma begins in the file that has luma, too. */
size_t chroma_offset(int width, int height) {
    return stride_of(PictureLayout::nv12, width) * static_cast<size_t>(height) + kGap;
}

Result<DmaBuf> allocate(MemorySource source, size_t size) {
    if (source == MemorySource::udmabuf) {
        return Udmabuf::open().and_then(
            [&](const Udmabuf& device) { return device.allocate(size); });
    }
    return DmaHeap::open("system").and_then(
        [&](const DmaHeap& heap) { return heap.allocate(size); });
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

Result<std::vector<PictureFile>> allocate_picture(MemorySource source, PictureLayout layout,
                                                  int width, int height) {
    const size_t rows = static_cast<size_t>(height);
    const size_t luma = stride_of(layout, width) * rows;
    std::vector<size_t> sizes;
    switch (layout) {
        case PictureLayout::packed:
        case PictureLayout::ten_bit:
        case PictureLayout::half_float:
            sizes = {luma};
            break;
        case PictureLayout::nv12:
            sizes = {chroma_offset(width, height) + luma / 2};
            break;
        case PictureLayout::nv12_two_files:
            sizes = {luma, luma / 2};
            break;
    }
    std::vector<PictureFile> files;
    for (size_t size : sizes) {
        auto memory = allocate(source, size);
        if (!memory) {
            return std::unexpected(memory.error());
        }
        auto mapping = memory->map(BufferAccess::read_write);
        if (!mapping) {
            return std::unexpected(mapping.error());
        }
        files.push_back({std::move(*memory), std::move(*mapping)});
    }
    return files;
}

FenceBuffer::FenceBuffer(const FenceDevices& devices, std::vector<PictureFile> files,
                         PictureLayout layout, int width, int height)
    : devices_(devices),
      files_(std::move(files)),
      layout_(layout),
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
    return {reinterpret_cast<uint8_t*>(files_.front().mapping.bytes().data()), width_, height_,
            stride_of(layout_, width_)};
}

nv12_frame::Plane FenceBuffer::plane(unsigned index) const {
    const bool chroma = index != 0;
    const PictureFile& file = chroma ? files_.back() : files_.front();
    const size_t offset = chroma && files_.size() == 1 ? chroma_offset(width_, height_) : 0;
    const auto rows = static_cast<size_t>(height_);
    if (chroma && !has_chroma(layout_)) {
        return {};
    }
    return {reinterpret_cast<uint8_t*>(file.mapping.bytes().data()) + offset,
            row_of(layout_, width_), chroma ? rows / 2 : rows, stride_of(layout_, width_)};
}

Result<void> FenceBuffer::create(zwp_linux_dmabuf_v1* dmabuf,
                                 wp_linux_drm_syncobj_manager_v1* manager, uint32_t format) {
    format_ = format;
    zwp_linux_buffer_params_v1* params = zwp_linux_dmabuf_v1_create_params(dmabuf);
    const auto stride = static_cast<uint32_t>(stride_of(layout_, width_));
    zwp_linux_buffer_params_v1_add(params, files_.front().memory.fd(), 0, 0, stride, 0, 0);
    if (has_chroma(layout_)) {
        const size_t offset = files_.size() > 1 ? 0 : chroma_offset(width_, height_);
        zwp_linux_buffer_params_v1_add(params, files_.back().memory.fd(), 1,
                                       static_cast<uint32_t>(offset), stride, 0, 0);
    }
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
    auto scratch = allocate(MemorySource::udmabuf, 4096);
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
    for (const PictureFile& file : files_) {
        std::ranges::fill(file.mapping.bytes(), std::byte{0xa5});
    }
    busy_ = true;
    for (const PictureFile& file : files_) {
        auto fence =
            devices_.vgem.attach(surface != nullptr ? *scratch_ : file.memory, BufferAccess::write);
        if (!fence) {
            return std::unexpected(fence.error());
        }
        fences_.push_back(*fence);
        if (surface != nullptr) {
            break;  // one point is for all of them
        }
    }
    return surface != nullptr ? set_points(surface) : Result<void>();
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
