// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_drawing.hpp"

#include "memfd_allocator.hpp"

namespace stepscope {

PictureDrawing::PictureDrawing(const Renderer& renderer)
    : renderer_(renderer), allocator_(create_memfd_allocator()) {}

OwnPicture PictureDrawing::make(uint32_t fourcc, uint32_t width, uint32_t height,
                                std::optional<uint64_t> modifier) const {
    if (modifier && !renderer_.makes_dmabufs()) {
        return nullptr;
    }
    const uint64_t modifiers[] = {modifier.value_or(DRM_FORMAT_MOD_INVALID)};
    const DrmFormat format(fourcc, modifiers);
    return OwnPicture(wlr_allocator_create_buffer(
        modifier ? renderer_.allocator() : allocator_.get(), static_cast<int>(width),
        static_cast<int>(height), format.get()));
}

bool PictureDrawing::draw(wlr_buffer* source, wlr_buffer* target) {
    Handle<wlr_texture, wlr_texture_destroy> texture(
        wlr_texture_from_buffer(renderer_.renderer(), source));
    if (!texture) {
        return false;
    }
    wlr_dmabuf_attributes dmabuf{};
    if (wlr_buffer_get_dmabuf(target, &dmabuf)) {
        const bool drawn = scale(texture.get(), target);
        renderer_.finish_drawing();
        return drawn;
    }
    if (!renderer_.makes_dmabufs()) {
        return scale(texture.get(), target);
    }
    if (source->width == target->width && source->height == target->height) {
        return read_back(source, target);
    }
    if (!scratch_ || scratch_->width != target->width || scratch_->height != target->height) {
        auto format = renderer_.ring_format(DRM_FORMAT_XRGB8888);
        scratch_.reset(format ? wlr_allocator_create_buffer(renderer_.allocator(), target->width,
                                                            target->height, format->get())
                              : nullptr);
    }
    return scratch_ && scale(texture.get(), scratch_.get()) && read_back(scratch_.get(), target);
}

bool PictureDrawing::scale(wlr_texture* texture, wlr_buffer* target) const {
    wlr_render_pass* pass = wlr_renderer_begin_buffer_pass(renderer_.renderer(), target, nullptr);
    if (pass == nullptr) {
        return false;
    }
    wlr_render_texture_options options{};
    options.texture = texture;
    options.dst_box = {0, 0, target->width, target->height};
    options.blend_mode = WLR_RENDER_BLEND_MODE_NONE;
    options.filter_mode = WLR_SCALE_FILTER_BILINEAR;
    wlr_render_pass_add_texture(pass, &options);
    return wlr_render_pass_submit(pass);
}

bool PictureDrawing::read_back(wlr_buffer* source, wlr_buffer* target) const {
    Handle<wlr_texture, wlr_texture_destroy> texture(
        wlr_texture_from_buffer(renderer_.renderer(), source));
    void* data = nullptr;
    uint32_t fourcc = 0;
    size_t stride = 0;
    if (!texture || !wlr_buffer_begin_data_ptr_access(target, WLR_BUFFER_DATA_PTR_ACCESS_WRITE,
                                                      &data, &fourcc, &stride)) {
        return false;
    }
    const wlr_texture_read_pixels_options options{.data = data,
                                                  .format = fourcc,
                                                  .stride = static_cast<uint32_t>(stride),
                                                  .dst_x = 0,
                                                  .dst_y = 0,
                                                  .src_box = {}};
    const bool read = wlr_texture_read_pixels(texture.get(), &options);
    wlr_buffer_end_data_ptr_access(target);
    return read;
}

}  // namespace stepscope
