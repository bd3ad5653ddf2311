// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <spa/buffer/buffer.h>

#include <cstdint>

#include "wlr.hpp"

namespace stepscope {

/** More than this, and the whole picture counts as changed. */
inline constexpr unsigned kMaxDamageBoxes = 16;

/** What a consumer is told about one frame. */
struct VideoMetadata {
    int64_t time_ns = 0;  // CLOCK_MONOTONIC
    uint64_t sequence = 0;
    bool discontinuity = false;
    uint32_t width = 0;
    uint32_t height = 0;
    /** Null: all of the picture may have changed. */
    const pixman_region32_t* damage = nullptr;
};

/** Writes what the buffer has room for, as negotiated. */
void write_metadata(spa_buffer* buffer, const VideoMetadata& metadata);

/** What a buffer's metadata says about its timelines. */
enum class Release {
    /** The consumer will put a fence at the release point, or has. */
    promised,
    /** It did not take the picture. */
    dropped,
};

/** Whether room for points was agreed on. */
bool has_sync_points(const spa_buffer* buffer);
void write_sync_points(spa_buffer* buffer, uint64_t acquire, uint64_t release);
Release read_release(const spa_buffer* buffer);

/** How many consumers use the buffer now; 0 also where that was not negotiated. */
uint32_t busy_count(const spa_buffer* buffer);

}  // namespace stepscope
