// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cursor_plane.hpp"

#include <utility>

namespace stepscope {

CursorPlane::~CursorPlane() {
    drop_buffer();
}

void CursorPlane::drop_buffer() {
    if (wlr_buffer* buffer = std::exchange(buffer_, nullptr)) {
        wlr_buffer_unlock(buffer);
    }
}

void CursorPlane::set_size(uint32_t width, uint32_t height, int hotspot_x, int hotspot_y) {
    drop_buffer();
    pixels_.clear();
    width_ = width;
    height_ = height;
    hotspot_x_ = hotspot_x;
    hotspot_y_ = hotspot_y;
}

void CursorPlane::show(wlr_buffer* buffer, int hotspot_x, int hotspot_y) {
    if (buffer == nullptr) {
        set_size(0, 0, 0, 0);
        return;
    }
    set_size(static_cast<uint32_t>(buffer->width), static_cast<uint32_t>(buffer->height), hotspot_x,
             hotspot_y);
    buffer_ = wlr_buffer_lock(buffer);
}

void CursorPlane::show(wlr_texture* texture, int hotspot_x, int hotspot_y) {
    set_size(texture->width, texture->height, hotspot_x, hotspot_y);
    read(texture);
}

const std::vector<uint32_t>& CursorPlane::pixels(wlr_renderer* renderer) {
    if (buffer_ != nullptr) {
        const Handle<wlr_texture, wlr_texture_destroy> texture(
            wlr_texture_from_buffer(renderer, buffer_));
        if (texture) {
            read(texture.get());
        }
        drop_buffer();
    }
    return pixels_;
}

void CursorPlane::read(wlr_texture* texture) {
    pixels_.resize(size_t{width_} * height_);
    const wlr_texture_read_pixels_options options{
        .data = pixels_.data(),
        .format = DRM_FORMAT_ARGB8888,
        .stride = width_ * static_cast<uint32_t>(sizeof(uint32_t)),
        .dst_x = 0,
        .dst_y = 0,
        .src_box = {}};
    if (!wlr_texture_read_pixels(texture, &options)) {
        pixels_.clear();
    }
}

}  // namespace stepscope
