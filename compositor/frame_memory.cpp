// SPDX-License-Identifier: LGPL-2.1-or-later
#include "frame_memory.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <format>

namespace stepscope {
namespace {

/** After this nobody can make the file smaller while a consumer has it mapped. */
bool seal_against_shrinking(int fd) {
    const int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return false;
    }
    return (seals & F_SEAL_SHRINK) != 0 || ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0;
}

Result<FrameMemory> describe_shm(const wlr_shm_attributes& shm, Owner owner) {
    const uint32_t fourcc = opaque_format(shm.format);
    // Only DMA-BUFs can be handed out in formats that GStreamer has no name for.
    if (bytes_per_pixel(fourcc) == 0 || fourcc == DRM_FORMAT_XBGR16161616F) {
        return fail(Fault::unsupported, std::format("format {:#x}", shm.format));
    }
    if (owner == Owner::game && !seal_against_shrinking(shm.fd)) {
        return fail(Fault::permission, "memory that can't be sealed");
    }
    struct stat status{};
    const auto end = int64_t{shm.offset} + int64_t{shm.stride} * static_cast<int64_t>(shm.height);
    if (::fstat(shm.fd, &status) < 0 || shm.offset < 0 || shm.stride <= 0 || end > UINT32_MAX ||
        end > status.st_size) {
        return fail(Fault::permission, "memory that ends before the picture does");
    }
    FrameMemory memory;
    memory.kind = FrameMemory::Kind::memfd;
    memory.width = static_cast<uint32_t>(shm.width);
    memory.height = static_cast<uint32_t>(shm.height);
    memory.fourcc = fourcc;
    memory.modifier = DRM_FORMAT_MOD_LINEAR;
    memory.planes = 1;
    memory.plane[0] = {shm.fd, static_cast<uint32_t>(shm.offset),
                       static_cast<uint32_t>(shm.stride)};
    return memory;
}

Result<FrameMemory> describe_dmabuf(const wlr_dmabuf_attributes& dmabuf) {
    const uint32_t fourcc = opaque_format(dmabuf.format);
    if (fourcc == 0 || dmabuf.modifier == DRM_FORMAT_MOD_INVALID) {
        return fail(Fault::unsupported,
                    std::format("format {:#x}, modifier {:#x}", dmabuf.format, dmabuf.modifier));
    }
    FrameMemory memory;
    memory.kind = FrameMemory::Kind::dmabuf;
    memory.width = static_cast<uint32_t>(dmabuf.width);
    memory.height = static_cast<uint32_t>(dmabuf.height);
    memory.fourcc = fourcc;
    memory.modifier = dmabuf.modifier;
    memory.planes = static_cast<unsigned>(dmabuf.n_planes);
    for (unsigned i = 0; i < memory.planes; ++i) {
        memory.plane[i] = {dmabuf.fd[i], dmabuf.offset[i], dmabuf.stride[i]};
    }
    return memory;
}

}  // namespace

uint32_t opaque_format(uint32_t fourcc) {
    switch (fourcc) {
        case DRM_FORMAT_XRGB8888:
        case DRM_FORMAT_ARGB8888:
            return DRM_FORMAT_XRGB8888;
        case DRM_FORMAT_XBGR8888:
        case DRM_FORMAT_ABGR8888:
            return DRM_FORMAT_XBGR8888;
        case DRM_FORMAT_XRGB2101010:
        case DRM_FORMAT_ARGB2101010:
            return DRM_FORMAT_XRGB2101010;
        case DRM_FORMAT_XBGR2101010:
        case DRM_FORMAT_ABGR2101010:
            return DRM_FORMAT_XBGR2101010;
        case DRM_FORMAT_XBGR16161616F:
        case DRM_FORMAT_ABGR16161616F:
            return DRM_FORMAT_XBGR16161616F;
        case DRM_FORMAT_RGB565:
        case DRM_FORMAT_NV12:
        case DRM_FORMAT_P010:
            return fourcc;
        default:
            return 0;
    }
}

uint32_t bytes_per_pixel(uint32_t fourcc) {
    switch (opaque_format(fourcc)) {
        case DRM_FORMAT_XRGB8888:
        case DRM_FORMAT_XBGR8888:
        case DRM_FORMAT_XRGB2101010:
        case DRM_FORMAT_XBGR2101010:
            return 4;
        case DRM_FORMAT_XBGR16161616F:
            return 8;
        case DRM_FORMAT_RGB565:
            return 2;
        default:
            return 0;
    }
}

Result<FrameMemory> describe_buffer(wlr_buffer* buffer, Owner owner) {
    wlr_dmabuf_attributes dmabuf{};
    if (wlr_buffer_get_dmabuf(buffer, &dmabuf)) {
        return describe_dmabuf(dmabuf);
    }
    wlr_shm_attributes shm{};
    if (wlr_buffer_get_shm(buffer, &shm)) {
        return describe_shm(shm, owner);
    }
    return fail(Fault::permission, "memory without a file descriptor");
}

}  // namespace stepscope
