// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "buffer_fences.hpp"
#include "buffer_lending.hpp"
#include "release_points.hpp"

namespace stepscope {

/**
 * Takes buffers back from consumers. Where a consumer left a fence, the buffer goes back to its
 * owner no sooner than that has signalled; nobody blocks for it.
 */
class BufferReturns {
public:
    /** `points` is null where clients have no explicit sync. Both are borrowed. */
    BufferReturns(wl_event_loop* loop, BufferLending& lending, ReleasePoints* points)
        : loop_(loop), lending_(lending), points_(points) {}
    BufferReturns(const BufferReturns&) = delete;
    BufferReturns& operator=(const BufferReturns&) = delete;
    /** Unlocks what still waited for fences. */
    ~BufferReturns();

    /** Called when a buffer went back later than it was returned. */
    void set_late_return(std::function<void()> handler) { late_return_ = std::move(handler); }

    /** Ends one lend() and one lock of the buffer. */
    void take(wlr_buffer* buffer, std::optional<SyncFile> fence);

private:
    struct Waiting {
        wlr_buffer* buffer;  // locked
        std::unique_ptr<FenceWait> wait;
    };

    void finish(wlr_buffer* buffer);

    wl_event_loop* loop_;
    BufferLending& lending_;
    ReleasePoints* points_;
    std::function<void()> late_return_;
    std::list<Waiting> waiting_;
};

}  // namespace stepscope
