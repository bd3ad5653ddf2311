// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "renderer.hpp"

namespace stepscope {

/**
 * Whether the picture that a DMA-BUF is said to hold lies within it, as far as its layout is known:
 * the number of planes, and of linear ones the strides and offsets. Fault::protocol says what is
 * wrong. wlroots looks at the size of the first plane alone, and not at rows.
 */
Result<void> check_layout(const wlr_dmabuf_attributes& dmabuf);

/**
 * Refuses DMA-BUFs of games that are not what the game says: the client gets a protocol error.
 * What this lets through a consumer can map and read to its end.
 */
class DmabufCheck {
public:
    /** The renderer lives longer than this, this as long as the display's clients. */
    DmabufCheck(wlr_linux_dmabuf_v1* dmabuf, const Renderer& renderer);
    DmabufCheck(const DmabufCheck&) = delete;
    DmabufCheck& operator=(const DmabufCheck&) = delete;

private:
    Result<void> check(const wlr_dmabuf_attributes& dmabuf) const;
    Result<void> import(const wlr_dmabuf_attributes& dmabuf) const;

    const Renderer& renderer_;
    /** Opened anew: handles of the renderer's own device are the renderer's. */
    UniqueFd device_;
};

}  // namespace stepscope
