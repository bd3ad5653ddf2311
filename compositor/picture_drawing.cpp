// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_drawing.hpp"

#include <utility>

namespace stepscope {

OwnPicture::OwnPicture(const Renderer& renderer, uint32_t fourcc, uint32_t width, uint32_t height) {
    if (auto format = renderer.ring_format(fourcc)) {
        buffer_ = wlr_allocator_create_buffer(renderer.allocator(), static_cast<int>(width),
                                              static_cast<int>(height), format->get());
    }
}

OwnPicture::OwnPicture(OwnPicture&& other) noexcept
    : buffer_(std::exchange(other.buffer_, nullptr)) {}

OwnPicture::~OwnPicture() {
    wlr_buffer_drop(buffer_);
}

bool draw_picture(const Renderer& renderer, wlr_buffer* source, wlr_buffer* target) {
    Handle<wlr_texture, wlr_texture_destroy> texture(
        wlr_texture_from_buffer(renderer.renderer(), source));
    if (!texture) {
        return false;
    }
    wlr_render_pass* pass = wlr_renderer_begin_buffer_pass(renderer.renderer(), target, nullptr);
    if (pass == nullptr) {
        return false;
    }
    wlr_render_texture_options options{};
    options.texture = texture.get();
    options.dst_box = {0, 0, target->width, target->height};
    options.blend_mode = WLR_RENDER_BLEND_MODE_NONE;
    options.filter_mode = WLR_SCALE_FILTER_BILINEAR;
    wlr_render_pass_add_texture(pass, &options);
    return wlr_render_pass_submit(pass);
}

}  // namespace stepscope
