// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_offer.hpp"

#include <algorithm>

namespace stepscope {
namespace {

bool same_layout(const FrameMemory& a, const FrameMemory& b) {
    return a.kind == b.kind && a.width == b.width && a.height == b.height && a.fourcc == b.fourcc &&
           a.modifier == b.modifier && a.planes == b.planes;
}

}  // namespace

bool passes_as(const FrameMemory& memory, const VideoFormat& format) {
    const bool dmabuf = memory.kind == FrameMemory::Kind::dmabuf;
    return (dmabuf ? format.modifier == memory.modifier : !format.modifier) &&
           memory.fourcc == format.fourcc && memory.width == format.width &&
           memory.height == format.height;
}

PictureOffer::PictureOffer(const CaptureOutput& output, const Renderer& renderer,
                           std::optional<PictureDemand> demand)
    : output_(output), renderer_(renderer), demand_(demand) {}

VideoOffer PictureOffer::current() const {
    VideoOffer offer;
    const bool seen = native_.fourcc != 0;
    offer.native = seen ? native_.fourcc : uint32_t{DRM_FORMAT_XRGB8888};
    offer.width = seen ? native_.width : output_.width();
    offer.height = seen ? native_.height : output_.height();
    offer.rate = output_.rate();
    offer.drawable = {DRM_FORMAT_XRGB8888, DRM_FORMAT_XBGR8888};
    if (renderer_.makes_dmabufs()) {
        offer.drawable_modifiers = {DRM_FORMAT_MOD_LINEAR};
    }
    if (demand_) {
        if (!seen || demand_->width != native_.width || demand_->height != native_.height) {
            offer.native = 0;
        }
        offer.any_size = false;
        offer.width = demand_->width;
        offer.height = demand_->height;
        if (!demand_->limit.unlimited()) {
            offer.limit = demand_->limit;
        }
    }
    if (offer.native != 0 && native_.kind == FrameMemory::Kind::dmabuf) {
        offer.modifiers = {native_.modifier};
        if (native_.modifier != DRM_FORMAT_MOD_LINEAR) {
            offer.modifiers.push_back(DRM_FORMAT_MOD_LINEAR);
        }
    }
    return offer;
}

bool PictureOffer::note(const CapturedFrame& frame) {
    bool changed = false;
    if (!same_layout(native_, frame.memory)) {
        known_.clear();
        const VideoOffer before = current();
        native_ = frame.memory;
        native_.plane = {};  // the descriptors are this frame's
        changed = current() != before;
    }
    auto& known = known_[frame.buffer];
    if (!known) {
        known = std::make_unique<Known>();
        wlr_buffer* buffer = frame.buffer;
        known->destroyed.connect(buffer->events.destroy,
                                 [this, buffer](void*) { known_.erase(buffer); });
    }
    return changed;
}

std::vector<wlr_buffer*> PictureOffer::memories_for(const VideoFormat& format) const {
    std::vector<wlr_buffer*> memories;
    if (passes_as(native_, format)) {
        for (const auto& [memory, known] : known_) {
            memories.push_back(memory);
        }
    }
    return memories;
}

std::optional<uint64_t> PictureOffer::choose_modifier(const VideoFormat& format,
                                                      const PictureDrawing& drawing) const {
    for (uint64_t modifier : {native_.modifier, uint64_t{DRM_FORMAT_MOD_LINEAR}}) {
        VideoFormat fixed = format;
        fixed.modifier = modifier;
        if (std::ranges::contains(format.choices, modifier) &&
            (passes_as(native_, fixed) ||
             drawing.make(fixed.fourcc, fixed.width, fixed.height, modifier) != nullptr)) {
            return modifier;
        }
    }
    return std::nullopt;
}

}  // namespace stepscope
