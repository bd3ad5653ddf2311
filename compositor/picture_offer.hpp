// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "capture_output.hpp"
#include "picture_demand.hpp"
#include "picture_drawing.hpp"
#include "pipewire_format.hpp"

namespace stepscope {

/**
 * What a stream can offer: pictures as the output shows them and in any size, or those of one
 * demand. Knows the memories that pictures were seen in.
 */
class PictureOffer {
public:
    /** Both borrowed. */
    PictureOffer(const CaptureOutput& output, const Renderer& renderer,
                 std::optional<PictureDemand> demand);
    PictureOffer(const PictureOffer&) = delete;
    PictureOffer& operator=(const PictureOffer&) = delete;

    VideoOffer current() const;
    /** Learns of the frame's memory. True if there is something else to offer now. */
    bool note(const CapturedFrame& frame);
    /** Memories that reach consumers of this format as they are. */
    std::vector<wlr_buffer*> memories_for(const VideoFormat& format) const;
    /** Of the modifiers that the format leaves to us one that we have or can make. */
    std::optional<uint64_t> choose_modifier(const VideoFormat& format,
                                            const PictureDrawing& drawing) const;

private:
    struct Known {
        Listener destroyed;
    };

    const CaptureOutput& output_;
    const Renderer& renderer_;
    std::optional<PictureDemand> demand_;
    FrameMemory native_{};  // without descriptors
    std::map<wlr_buffer*, std::unique_ptr<Known>> known_;
};

/** Whether consumers of that format can have the memory as it is. */
bool passes_as(const FrameMemory& memory, const VideoFormat& format);

}  // namespace stepscope
