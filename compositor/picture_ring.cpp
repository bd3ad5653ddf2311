// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_ring.hpp"

#include <format>

namespace stepscope {

Result<void> PictureRing::fit(int width, int height, uint32_t fourcc,
                              const ConsumerFormats& formats) {
    if (ring_ && fourcc_ == fourcc && ring_->width == width && ring_->height == height) {
        return {};
    }
    if (!renderer_.ring_format(fourcc)) {
        fourcc = DRM_FORMAT_XRGB8888;
    }
    auto format = renderer_.ring_format(fourcc, formats.ring_modifiers(fourcc));
    if (!format) {
        return std::unexpected(format.error());
    }
    Handle<wlr_swapchain, wlr_swapchain_destroy> ring(
        wlr_swapchain_create(renderer_.allocator(), width, height, format->get()));
    if (!ring) {
        return fail(Fault::system,
                    std::format("no memory for a ring of {}x{} pictures", width, height));
    }
    ring_ = std::move(ring);
    fourcc_ = fourcc;
    return {};
}

}  // namespace stepscope
