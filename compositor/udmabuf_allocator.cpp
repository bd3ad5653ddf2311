// SPDX-License-Identifier: LGPL-2.1-or-later
#include "udmabuf_allocator.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "frame_memory.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

/** What GPUs want of the rows of a linear picture. */
constexpr size_t kStrideAlignment = 256;

struct UdmabufBuffer {
    wlr_buffer base{};
    DmaBuf memory;
    wlr_dmabuf_attributes attributes{};

    explicit UdmabufBuffer(DmaBuf taken) : memory(std::move(taken)) {}

    static UdmabufBuffer* of(wlr_buffer* buffer) {
        UdmabufBuffer* self = nullptr;
        return wl_container_of(buffer, self, base);
    }
};

constexpr wlr_buffer_impl kBufferImpl{
    .destroy =
        [](wlr_buffer* buffer) {
            wlr_buffer_finish(buffer);
            delete UdmabufBuffer::of(buffer);
        },
    .get_dmabuf =
        [](wlr_buffer* buffer, wlr_dmabuf_attributes* attributes) {
            *attributes = UdmabufBuffer::of(buffer)->attributes;
            return true;
        },
    .get_shm = nullptr,
    .begin_data_ptr_access = nullptr,
    .end_data_ptr_access = nullptr,
};

struct UdmabufAllocator {
    wlr_allocator base{};
    Udmabuf device;

    explicit UdmabufAllocator(Udmabuf taken) : device(std::move(taken)) {}

    static UdmabufAllocator* of(wlr_allocator* allocator) {
        UdmabufAllocator* self = nullptr;
        return wl_container_of(allocator, self, base);
    }
};

wlr_buffer* create_buffer(wlr_allocator* allocator, int width, int height,
                          const wlr_drm_format* format) {
    const size_t pixel = bytes_per_pixel(format->format);
    const std::span modifiers(format->modifiers, format->len);
    if (pixel == 0 || !std::ranges::contains(modifiers, DRM_FORMAT_MOD_LINEAR)) {
        return nullptr;
    }
    const size_t stride = (static_cast<size_t>(width) * pixel + kStrideAlignment - 1) /
                          kStrideAlignment * kStrideAlignment;
    auto memory =
        UdmabufAllocator::of(allocator)->device.allocate(stride * static_cast<size_t>(height));
    if (!memory) {
        log("{}", memory.error().message);
        return nullptr;
    }
    auto buffer = std::make_unique<UdmabufBuffer>(std::move(*memory));
    buffer->attributes.width = width;
    buffer->attributes.height = height;
    buffer->attributes.format = format->format;
    buffer->attributes.modifier = DRM_FORMAT_MOD_LINEAR;
    buffer->attributes.n_planes = 1;
    buffer->attributes.stride[0] = static_cast<uint32_t>(stride);
    buffer->attributes.fd[0] = buffer->memory.fd();
    wlr_buffer_init(&buffer->base, &kBufferImpl, width, height);
    return &buffer.release()->base;  // ends in the implementation's destroy
}

}  // namespace

wlr_allocator* create_udmabuf_allocator(Udmabuf device) {
    static const wlr_allocator_interface impl{
        .create_buffer = create_buffer,
        .destroy = [](wlr_allocator* allocator) { delete UdmabufAllocator::of(allocator); },
    };
    auto* allocator = new UdmabufAllocator(std::move(device));  // ends in the interface's destroy
    wlr_allocator_init(&allocator->base, &impl, WLR_BUFFER_CAP_DMABUF);
    return &allocator->base;
}

}  // namespace stepscope
