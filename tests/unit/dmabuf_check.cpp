// SPDX-License-Identifier: LGPL-2.1-or-later
// What a game may say of a DMA-BUF. Any file has a size: a memfd does here.
#include "compositor/dmabuf_check.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>

using stepscope::check_layout;
using stepscope::UniqueFd;

namespace {

UniqueFd memory(off_t size) {
    UniqueFd fd(::memfd_create("unit", MFD_CLOEXEC));
    REQUIRE(::ftruncate(fd.get(), size) == 0);
    return fd;
}

wlr_dmabuf_attributes picture(const UniqueFd& fd, uint32_t format, int planes, uint32_t stride) {
    wlr_dmabuf_attributes dmabuf{};
    dmabuf.width = 64;
    dmabuf.height = 32;
    dmabuf.format = format;
    dmabuf.modifier = DRM_FORMAT_MOD_LINEAR;
    dmabuf.n_planes = planes;
    for (int plane = 0; plane < planes; ++plane) {
        dmabuf.fd[plane] = fd.get();
        dmabuf.stride[plane] = stride;
    }
    return dmabuf;
}

}  // namespace

TEST_CASE("a linear picture of one plane has to lie within its memory") {
    const UniqueFd fd = memory(off_t{256} * 32);
    auto dmabuf = picture(fd, DRM_FORMAT_XRGB8888, 1, 256);
    CHECK(check_layout(dmabuf));
    dmabuf.stride[0] = 255;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.stride[0] = 0;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.stride[0] = 260;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.stride[0] = 0xffffffff;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.stride[0] = 256;
    dmabuf.offset[0] = 1;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.offset[0] = 0xffffffff;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.offset[0] = 0;
    dmabuf.height = 33;
    CHECK_FALSE(check_layout(dmabuf));
    // The last row's padding may be missing.
    dmabuf.height = 31;
    dmabuf.stride[0] = 262;
    CHECK(check_layout(dmabuf));
}

TEST_CASE("both planes of a planar picture have to lie within their memory") {
    const UniqueFd fd = memory(64 * 32 + 64 * 16);
    auto dmabuf = picture(fd, DRM_FORMAT_NV12, 2, 64);
    dmabuf.offset[1] = 64 * 32;
    CHECK(check_layout(dmabuf));
    dmabuf.offset[1] += 1;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.offset[1] = 64 * 32;
    dmabuf.stride[1] = 63;
    CHECK_FALSE(check_layout(dmabuf));
    dmabuf.stride[1] = 64;
    dmabuf.format = DRM_FORMAT_P010;
    CHECK_FALSE(check_layout(dmabuf));
}

TEST_CASE("a format has its number of planes") {
    const UniqueFd fd = memory(off_t{256} * 64);
    CHECK_FALSE(check_layout(picture(fd, DRM_FORMAT_XRGB8888, 2, 256)));
    CHECK_FALSE(check_layout(picture(fd, DRM_FORMAT_NV12, 1, 256)));
    CHECK_FALSE(check_layout(picture(fd, DRM_FORMAT_NV12, 3, 256)));
    // Tiled ones have more, for what compresses them, and their rows are nobody's business.
    auto tiled = picture(fd, DRM_FORMAT_XRGB8888, 2, 1);
    tiled.modifier = I915_FORMAT_MOD_Y_TILED_CCS;
    CHECK(check_layout(tiled));
    tiled.format = DRM_FORMAT_NV12;
    tiled.n_planes = 1;
    CHECK_FALSE(check_layout(tiled));
}

TEST_CASE("memory without a size is refused") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const UniqueFd one(ends[0]);
    const UniqueFd other(ends[1]);
    CHECK_FALSE(check_layout(picture(one, DRM_FORMAT_XRGB8888, 1, 256)));
}
