// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

#include "frame_memory.hpp"
#include "renderer.hpp"

namespace stepscope {

/** A format, with alpha ignored, and how it lies in memory. */
struct PictureLayout {
    uint32_t fourcc = 0;
    uint64_t modifier = 0;

    auto operator<=>(const PictureLayout&) const = default;
};

/**
 * What all consumers can read, as far as they said: what may pass through, what we draw ourselves,
 * and what the game is advised to allocate (the scan-out tranche of its dmabuf feedback).
 */
class ConsumerFormats {
public:
    explicit ConsumerFormats(const Renderer& renderer);
    ConsumerFormats(const ConsumerFormats&) = delete;
    ConsumerFormats& operator=(const ConsumerFormats&) = delete;
    ~ConsumerFormats();

    /** None: nobody said anything, all that can be described is welcome. False if it was so. */
    bool set(std::optional<std::vector<PictureLayout>> readable);

    bool accepts(const FrameMemory& memory) const;
    /** What to draw our own pictures in where the game's are of `wanted`. */
    uint32_t ring_format(uint32_t wanted) const;
    /** In which layouts; empty for linear. */
    std::vector<uint64_t> ring_modifiers(uint32_t fourcc) const;
    /** For the output's primary formats. Lives as long as this. */
    const wlr_drm_format_set* for_games() const { return &for_games_; }

    /** Where the game learns of it; borrowed, may be null. */
    void set_feedback(wlr_linux_dmabuf_v1* dmabuf) { dmabuf_ = dmabuf; }
    /** Tells the game that shows this surface, unless it knows. */
    void tell(wlr_surface* surface, wlr_output* output);

private:
    bool readable(uint32_t fourcc, uint64_t modifier) const;
    void update_for_games();

    const Renderer& renderer_;
    std::optional<std::vector<PictureLayout>> readable_;  // sorted
    wlr_drm_format_set for_games_{};
    wlr_linux_dmabuf_v1* dmabuf_ = nullptr;
    /** Only compared: who was told of the present state. */
    const wlr_surface* told_ = nullptr;
};

}  // namespace stepscope
