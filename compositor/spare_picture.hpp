// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "buffer_lending.hpp"
#include "renderer.hpp"

namespace stepscope {

/** The game's own buffer behind a surface's picture, as long as it is kept from the game. */
wlr_buffer* held_source(const wlr_surface* surface);

/** Copies what a game shows, so that it gets its buffer back when consumers hold all others. */
class SparePicture {
public:
    SparePicture(const Renderer& renderer, const BufferLending& lending)
        : renderer_(renderer), lending_(lending) {}
    SparePicture(const SparePicture&) = delete;
    SparePicture& operator=(const SparePicture&) = delete;

    /**
     * Where the surface's game has no buffer to draw into: the surface keeps a copy of the one that
     * it shows, which no consumer got, and the game can draw on.
     */
    void give_game_a_buffer(wlr_surface* lone);

private:
    wlr_buffer* acquire(int width, int height);

    const Renderer& renderer_;
    const BufferLending& lending_;
    /** Apart from the ring, which consumers may hold. */
    Handle<wlr_swapchain, wlr_swapchain_destroy> ring_;
};

}  // namespace stepscope
