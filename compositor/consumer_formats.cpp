// SPDX-License-Identifier: LGPL-2.1-or-later
#include "consumer_formats.hpp"

#include <algorithm>

namespace stepscope {

ConsumerFormats::ConsumerFormats(const Renderer& renderer) : renderer_(renderer) {
    update_for_games();
}

ConsumerFormats::~ConsumerFormats() {
    wlr_drm_format_set_finish(&for_games_);
}

bool ConsumerFormats::set(std::optional<std::vector<PictureLayout>> readable) {
    if (readable) {
        std::ranges::sort(*readable);
    }
    if (readable == readable_) {
        return false;
    }
    readable_ = std::move(readable);
    update_for_games();
    told_ = nullptr;
    return true;
}

bool ConsumerFormats::readable(uint32_t fourcc, uint64_t modifier) const {
    return !readable_ || std::ranges::binary_search(*readable_, PictureLayout{fourcc, modifier});
}

bool ConsumerFormats::accepts(const FrameMemory& memory) const {
    return readable(memory.fourcc, memory.modifier);
}

void ConsumerFormats::update_for_games() {
    wlr_drm_format_set_finish(&for_games_);
    for_games_ = {};
    const wlr_drm_format_set* known =
        wlr_renderer_get_texture_formats(renderer_.renderer(), WLR_BUFFER_CAP_DMABUF);
    if (known == nullptr) {
        return;
    }
    for (size_t i = 0; i < known->len; ++i) {
        const wlr_drm_format& format = known->formats[i];
        const uint32_t fourcc = opaque_format(format.format);
        for (size_t j = 0; fourcc != 0 && j < format.len; ++j) {
            const uint64_t modifier = format.modifiers[j];
            if (modifier != DRM_FORMAT_MOD_INVALID && readable(fourcc, modifier)) {
                wlr_drm_format_set_add(&for_games_, format.format, modifier);
            }
        }
    }
}

uint32_t ConsumerFormats::ring_format(uint32_t wanted) const {
    // Only what can be drawn to: formats of one plane.
    auto usable = [this](uint32_t fourcc) {
        return bytes_per_pixel(fourcc) != 0 &&
               (!readable_ || std::ranges::contains(*readable_, fourcc, &PictureLayout::fourcc));
    };
    if (usable(wanted) || !readable_) {
        return usable(wanted) ? wanted : uint32_t{DRM_FORMAT_XRGB8888};
    }
    if (usable(DRM_FORMAT_XRGB8888)) {
        return DRM_FORMAT_XRGB8888;
    }
    auto found = std::ranges::find_if(
        *readable_, [](uint32_t fourcc) { return bytes_per_pixel(fourcc) != 0; },
        &PictureLayout::fourcc);
    return found != readable_->end() ? found->fourcc : uint32_t{DRM_FORMAT_XRGB8888};
}

std::vector<uint64_t> ConsumerFormats::ring_modifiers(uint32_t fourcc) const {
    std::vector<uint64_t> modifiers;
    if (readable_) {
        for (const PictureLayout& layout : *readable_) {
            if (layout.fourcc == fourcc) {
                modifiers.push_back(layout.modifier);
            }
        }
    }
    return modifiers;
}

void ConsumerFormats::tell(wlr_surface* surface, wlr_output* output) {
    if (dmabuf_ == nullptr || surface == told_) {
        return;
    }
    told_ = surface;
    const wlr_linux_dmabuf_feedback_v1_init_options options{
        .main_renderer = renderer_.renderer(),
        .scanout_primary_output = output,
        .output_layer_feedback_event = nullptr,
    };
    wlr_linux_dmabuf_feedback_v1 feedback{};
    if (wlr_linux_dmabuf_feedback_v1_init_with_options(&feedback, &options)) {
        wlr_linux_dmabuf_v1_set_surface_feedback(dmabuf_, surface, &feedback);
        wlr_linux_dmabuf_feedback_v1_finish(&feedback);
    }
}

}  // namespace stepscope
