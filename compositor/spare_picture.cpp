// SPDX-License-Identifier: LGPL-2.1-or-later
#include "spare_picture.hpp"

#include <utility>

#include "buffer_fences.hpp"

namespace stepscope {

wlr_buffer* held_source(const wlr_surface* surface) {
    if (surface == nullptr || surface->buffer == nullptr || surface->buffer->source == nullptr ||
        surface->buffer->source->n_locks == 0) {
        return nullptr;
    }
    return surface->buffer->source;
}

wlr_buffer* SparePicture::acquire(int width, int height) {
    if (!ring_ || ring_->width != width || ring_->height != height) {
        auto format = renderer_.ring_format(DRM_FORMAT_XRGB8888);
        if (!format) {
            return nullptr;
        }
        ring_.reset(wlr_swapchain_create(renderer_.allocator(), width, height, format->get()));
    }
    return ring_ ? wlr_swapchain_acquire(ring_.get()) : nullptr;
}

void SparePicture::give_game_a_buffer(wlr_surface* lone) {
    wlr_buffer* shown = held_source(lone);
    if (shown == nullptr || !lending_.game_is_out(lone, shown)) {
        return;
    }
    wlr_client_buffer* picture = lone->buffer;
    if (!renderer_.knows_fences() && acquire_fence(lone, shown)) {
        return;  // the game has not drawn it yet
    }
    wlr_buffer* copy = acquire(picture->base.width, picture->base.height);
    if (copy == nullptr) {
        return;
    }
    wlr_render_pass* pass = wlr_renderer_begin_buffer_pass(renderer_.renderer(), copy, nullptr);
    if (pass != nullptr) {
        wlr_render_texture_options options{};
        options.texture = picture->texture;
        options.blend_mode = WLR_RENDER_BLEND_MODE_NONE;
        wlr_render_pass_add_texture(pass, &options);
        wlr_texture* texture = wlr_render_pass_submit(pass)
                                   ? wlr_texture_from_buffer(renderer_.renderer(), copy)
                                   : nullptr;
        renderer_.finish_drawing();
        if (texture != nullptr) {
            // The old texture's end unlocks the game's buffer.
            wlr_texture_destroy(std::exchange(picture->texture, texture));
        }
    }
    wlr_buffer_unlock(copy);
}

}  // namespace stepscope
