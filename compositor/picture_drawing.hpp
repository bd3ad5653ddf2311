// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <optional>

#include "renderer.hpp"

namespace stepscope {

/** A buffer of our own: dropped by its owner, and gone when nobody has it locked. */
using OwnPicture = Handle<wlr_buffer, wlr_buffer_drop>;

/** Draws pictures into memory for consumers, with whatever renderer the session has. */
class PictureDrawing {
public:
    explicit PictureDrawing(const Renderer& renderer);
    PictureDrawing(const PictureDrawing&) = delete;
    PictureDrawing& operator=(const PictureDrawing&) = delete;

    /**
     * Memory for a picture: a sealed memfd, or with a modifier a DMA-BUF. Null where there is none
     * left, or the renderer can't make such.
     */
    OwnPicture make(uint32_t fourcc, uint32_t width, uint32_t height,
                    std::optional<uint64_t> modifier) const;
    /**
     * All of `source` over all of `target`, which make() made, scaled as needed. Does not wait for
     * fences of `source`. What a GPU draws into a DMA-BUF has its fence there.
     */
    bool draw(wlr_buffer* source, wlr_buffer* target);

private:
    bool scale(wlr_texture* texture, wlr_buffer* target) const;
    bool read_back(wlr_buffer* source, wlr_buffer* target) const;

    const Renderer& renderer_;
    Handle<wlr_allocator, wlr_allocator_destroy> allocator_;
    /** What a GPU draws to before it is read. */
    OwnPicture scratch_;
};

}  // namespace stepscope
