// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/error.hpp"
#include "consumer_formats.hpp"
#include "renderer.hpp"

namespace stepscope {

/**
 * The output's own buffers, bounded in number: what can't pass through is drawn into them. All are
 * of one size and format; another ring takes their place when that is to change, and goes when
 * consumers have given back what they hold of it.
 */
class PictureRing {
public:
    explicit PictureRing(const Renderer& renderer) : renderer_(renderer) {}

    /** Makes a ring of that size and a format near `fourcc`, unless there is one. */
    Result<void> fit(int width, int height, uint32_t fourcc, const ConsumerFormats& formats);
    /** The next fit() makes another one: consumers read something else. */
    void expire() { fourcc_ = 0; }

    /** Null before the first fit(). */
    wlr_swapchain* get() const { return ring_.get(); }
    bool has(wlr_buffer* buffer) const { return wlr_swapchain_has_buffer(ring_.get(), buffer); }

private:
    const Renderer& renderer_;
    Handle<wlr_swapchain, wlr_swapchain_destroy> ring_;
    uint32_t fourcc_ = 0;
};

}  // namespace stepscope
