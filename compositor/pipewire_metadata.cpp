// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_metadata.hpp"

#include <spa/buffer/meta.h>

#include <algorithm>

namespace stepscope {
namespace {

spa_region to_region(int x, int y, uint32_t width, uint32_t height) {
    spa_region region{};
    region.position = {x, y};
    region.size = {width, height};
    return region;
}

void write_damage(spa_buffer* buffer, const VideoMetadata& metadata) {
    const spa_meta* meta = spa_buffer_find_meta(buffer, SPA_META_VideoDamage);
    if (meta == nullptr) {
        return;
    }
    auto* regions = static_cast<spa_meta_region*>(meta->data);
    const size_t room = meta->size / sizeof(spa_meta_region);
    int count = 0;
    const pixman_box32_t* boxes =
        metadata.damage != nullptr ? pixman_region32_rectangles(metadata.damage, &count) : nullptr;
    size_t written = 0;
    if (count == 0 || static_cast<size_t>(count) > room) {
        if (room > 0) {
            regions[written++].region = to_region(0, 0, metadata.width, metadata.height);
        }
    } else {
        for (; written < static_cast<size_t>(count); ++written) {
            const pixman_box32_t& box = boxes[written];
            regions[written].region =
                to_region(box.x1, box.y1, static_cast<uint32_t>(box.x2 - box.x1),
                          static_cast<uint32_t>(box.y2 - box.y1));
        }
    }
    if (written < room) {
        regions[written].region = to_region(0, 0, 0, 0);  // the end of the list
    }
}

#ifdef SPA_META_FEATURE_SYNC_TIMELINE_RELEASE
spa_meta_sync_timeline* sync_points(const spa_buffer* buffer) {
    return static_cast<spa_meta_sync_timeline*>(
        spa_buffer_find_meta_data(buffer, SPA_META_SyncTimeline, sizeof(spa_meta_sync_timeline)));
}
#endif

}  // namespace

#ifdef SPA_META_FEATURE_SYNC_TIMELINE_RELEASE
bool has_sync_points(const spa_buffer* buffer) {
    return sync_points(buffer) != nullptr;
}

void write_sync_points(spa_buffer* buffer, uint64_t acquire, uint64_t release) {
    if (auto* points = sync_points(buffer)) {
        points->acquire_point = acquire;
        points->release_point = release;
        // Stays unless a consumer promises the release.
        __atomic_store_n(&points->flags, SPA_META_SYNC_TIMELINE_UNSCHEDULED_RELEASE,
                         __ATOMIC_RELEASE);
    }
}

Release read_release(const spa_buffer* buffer) {
    const spa_meta_sync_timeline* points = sync_points(buffer);
    const uint32_t flags =
        points != nullptr ? __atomic_load_n(&points->flags, __ATOMIC_ACQUIRE) : 0;
    return (flags & SPA_META_SYNC_TIMELINE_UNSCHEDULED_RELEASE) != 0 ? Release::dropped
                                                                     : Release::promised;
}
#else
bool has_sync_points(const spa_buffer* /*buffer*/) {
    return false;
}
void write_sync_points(spa_buffer* /*buffer*/, uint64_t /*acquire*/, uint64_t /*release*/) {}
Release read_release(const spa_buffer* /*buffer*/) {
    return Release::dropped;
}
#endif

void write_metadata(spa_buffer* buffer, const VideoMetadata& metadata) {
    if (auto* header = static_cast<spa_meta_header*>(
            spa_buffer_find_meta_data(buffer, SPA_META_Header, sizeof(spa_meta_header)))) {
        header->flags = metadata.discontinuity ? SPA_META_HEADER_FLAG_DISCONT : 0;
        header->offset = 0;
        header->pts = metadata.time_ns;
        header->dts_offset = 0;
        header->seq = metadata.sequence;
    }
    if (auto* crop = static_cast<spa_meta_region*>(
            spa_buffer_find_meta_data(buffer, SPA_META_VideoCrop, sizeof(spa_meta_region)))) {
        crop->region = to_region(0, 0, metadata.width, metadata.height);
    }
    write_damage(buffer, metadata);
}

uint32_t busy_count(const spa_buffer* buffer) {
    const auto* busy = static_cast<const spa_meta_busy*>(
        spa_buffer_find_meta_data(buffer, SPA_META_Busy, sizeof(spa_meta_busy)));
    return busy != nullptr ? __atomic_load_n(&busy->count, __ATOMIC_ACQUIRE) : 0;
}

}  // namespace stepscope
