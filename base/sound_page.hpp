// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <cstdint>

/**
 * The sound page: shared memory in which the sound devices of a game in lock-step mix what they
 * play, and from which the compositor takes it, step by step. docs/virtual-time.md has the rules.
 *
 * Frame n of the session is what is heard from n / kRate seconds of virtual time on. Samples are
 * sums of 16-bit ones and are added in any order with the same result. Freestanding: the device is
 * loaded into games.
 */
namespace stepscope::sound {

inline constexpr uint64_t kMagic = 0x444e554f53505453;  // "STPSOUND", little endian
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kRate = 48000;
inline constexpr uint32_t kChannels = 2;
/** Frames that the page holds: 21.8 s. */
inline constexpr uint64_t kFrames = uint64_t{1} << 20;

struct Page {
    uint64_t magic;
    uint32_t version;
    uint32_t size;                   // of the whole page, in bytes
    std::atomic<int64_t> origin_ns;  // CLOCK_MONOTONIC, as the game reads it, at frame 0
    /** Frames before this one were taken; the compositor's. */
    alignas(64) std::atomic<uint64_t> taken;
    /** Frames that found no room, because a step was too long; the game's. */
    alignas(64) std::atomic<uint64_t> lost;
    /** Frame n is at n % kFrames. What was taken is zero again. */
    alignas(4096) std::atomic<int32_t> samples[kFrames][kChannels];
};
static_assert(std::atomic<int32_t>::is_always_lock_free);

// A frame lasts 125000 / 6 ns. Steps of a 30th of a second end at whole nanoseconds, that is up to
// one too early: frames begin one early as well, so that each such step has as many.

/** The frame that is heard at this time. */
constexpr uint64_t frame_at(uint64_t ns) {
    return (ns + 1) / 125'000 * 6 + (ns + 1) % 125'000 * 6 / 125'000;
}
/** The first nanosecond of a frame. */
constexpr uint64_t time_of(uint64_t frame) {
    const uint64_t after = frame / 6 * 125'000 + (frame % 6 * 125'000 + 5) / 6;
    return after > 0 ? after - 1 : 0;
}
static_assert(frame_at(time_of(48'001)) == 48'001 && frame_at(time_of(48'001) - 1) == 48'000);
static_assert(frame_at(33'333'333) == 1600 && frame_at(66'666'666) == 3200);

}  // namespace stepscope::sound
