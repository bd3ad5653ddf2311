// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dmabuf_check.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <xf86drm.h>

#include <format>

#include "frame_memory.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

bool has_two_planes(uint32_t fourcc) {
    return fourcc == DRM_FORMAT_NV12 || fourcc == DRM_FORMAT_P010;
}

/** Bytes of one row of a plane, and how many rows there are. */
struct PlaneSize {
    uint64_t row = 0;
    uint64_t rows = 0;
};

PlaneSize plane_size(const wlr_dmabuf_attributes& dmabuf, int plane) {
    const auto width = static_cast<uint64_t>(dmabuf.width);
    const auto height = static_cast<uint64_t>(dmabuf.height);
    if (!has_two_planes(dmabuf.format)) {
        return {width * bytes_per_pixel(dmabuf.format), height};
    }
    const uint64_t sample = dmabuf.format == DRM_FORMAT_P010 ? 2 : 1;
    if (plane == 0) {
        return {width * sample, height};
    }
    return {(width + 1) / 2 * 2 * sample, (height + 1) / 2};
}

Result<void> check_plane(const wlr_dmabuf_attributes& dmabuf, int plane) {
    const PlaneSize size = plane_size(dmabuf, plane);
    const uint64_t stride = dmabuf.stride[plane];
    if (stride < size.row) {
        return fail(Fault::protocol, std::format("rows of plane {} take {} bytes, its stride is {}",
                                                 plane, size.row, stride));
    }
    const off_t end = ::lseek(dmabuf.fd[plane], 0, SEEK_END);
    if (end < 0) {
        return fail_errno(std::format("the size of plane {} can't be told", plane));
    }
    const uint64_t needed = dmabuf.offset[plane] + stride * (size.rows - 1) + size.row;
    if (needed > static_cast<uint64_t>(end)) {
        return fail(Fault::protocol, std::format("plane {} ends at {}, its memory at {}", plane,
                                                 needed, int64_t{end}));
    }
    return {};
}

}  // namespace

Result<void> check_layout(const wlr_dmabuf_attributes& dmabuf) {
    if (opaque_format(dmabuf.format) == 0) {
        return {};  // never handed out; the renderer has a look of its own
    }
    const bool linear = dmabuf.modifier == DRM_FORMAT_MOD_LINEAR;
    const int planes = has_two_planes(dmabuf.format) ? 2 : 1;
    // Compressed and tiled layouts have planes more.
    if (dmabuf.n_planes < planes || (linear && dmabuf.n_planes > planes)) {
        return fail(Fault::protocol, std::format("format {:#x} has {} planes, not {}",
                                                 dmabuf.format, planes, dmabuf.n_planes));
    }
    for (int plane = 0; linear && plane < planes; ++plane) {
        if (auto checked = check_plane(dmabuf, plane); !checked) {
            return checked;
        }
    }
    return {};
}

DmabufCheck::DmabufCheck(wlr_linux_dmabuf_v1* dmabuf, const Renderer& renderer)
    : renderer_(renderer), device_(::open(renderer.device().c_str(), O_RDWR | O_CLOEXEC)) {
    wlr_linux_dmabuf_v1_set_check_dmabuf_callback(
        dmabuf,
        [](wlr_dmabuf_attributes* attributes, void* data) {
            auto checked = static_cast<const DmabufCheck*>(data)->check(*attributes);
            if (!checked) {
                log("a game's DMA-BUF is refused: {}", checked.error().message);
            }
            return checked.has_value();
        },
        this);
}

Result<void> DmabufCheck::check(const wlr_dmabuf_attributes& dmabuf) const {
    const wlr_drm_format_set* known =
        wlr_renderer_get_texture_formats(renderer_.renderer(), WLR_BUFFER_CAP_DMABUF);
    if (known == nullptr || !wlr_drm_format_set_has(known, dmabuf.format, dmabuf.modifier)) {
        return fail(Fault::protocol,
                    std::format("format {:#x} with modifier {:#x} is none of those offered",
                                dmabuf.format, dmabuf.modifier));
    }
    return check_layout(dmabuf).and_then([&] { return import(dmabuf); });
}

Result<void> DmabufCheck::import(const wlr_dmabuf_attributes& dmabuf) const {
    for (int plane = 0; plane < dmabuf.n_planes; ++plane) {
        uint32_t handle = 0;
        if (drmPrimeFDToHandle(device_.get(), dmabuf.fd[plane], &handle) != 0) {
            return fail_errno(std::format("'{}' can't import plane {}", renderer_.device(), plane));
        }
        drmCloseBufferHandle(device_.get(), handle);
    }
    return {};
}

}  // namespace stepscope
