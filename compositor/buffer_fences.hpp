// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <optional>

#include "base/dmabuf.hpp"
#include "base/sync_file.hpp"
#include "frame_memory.hpp"
#include "wlr.hpp"

namespace stepscope {

/** Calls back once, on the event loop, when a fence has signalled; not if destroyed before. */
class FenceWait {
public:
    FenceWait(wl_event_loop* loop, SyncFile fence, std::function<void()> done);
    FenceWait(const FenceWait&) = delete;
    FenceWait& operator=(const FenceWait&) = delete;

private:
    static int handle_ready(int fd, uint32_t mask, void* data);

    SyncFile fence_;
    std::function<void()> done_;
    EventSource source_;  // before fence_ is closed
};

/** Adds a fence that both must wait for; a null one is none. Keeps what it can if merging fails. */
void merge_into(std::optional<SyncFile>& target, SyncFile fence);

/**
 * The fence that the drivers keep in a DMA-BUF for somebody who is about to access it; empty if
 * nothing is pending, and for other memory.
 */
std::optional<SyncFile> implicit_fence(wlr_buffer* buffer, BufferAccess access);

/**
 * Leaves a fence in DMA-BUFs for readers who know no other way. False where that can't be: other
 * memory, or a kernel that is too old.
 */
bool put_into_memory(const FrameMemory& memory, const SyncFile& fence);

/** The fence of a point that has one; empty if it has signalled. */
std::optional<SyncFile> point_fence(wlr_drm_syncobj_timeline* timeline, uint64_t point);

/**
 * What has to signal before a surface's current picture may be read; empty if it may be. The
 * acquire point of clients with explicit sync, else what is in the memory.
 */
std::optional<SyncFile> acquire_fence(wlr_surface* surface, wlr_buffer* buffer);

}  // namespace stepscope
