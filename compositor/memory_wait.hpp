// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <functional>

#include "buffer_lending.hpp"
#include "listener.hpp"

namespace stepscope {

/**
 * Keeps a frame back for some milliseconds while consumers are about to return memory of the
 * game's. A consumer that is about to return a buffer is worth waiting for: it saves a copy, and
 * the game, which gets its frame callback later, slows down to the consumer's pace.
 */
class MemoryWait {
public:
    /** `over` is called when the frame has waited long enough: it is to be tried again, then. */
    MemoryWait(wl_event_loop* loop, BufferLending& lending, std::function<void()> over);
    MemoryWait(const MemoryWait&) = delete;
    MemoryWait& operator=(const MemoryWait&) = delete;

    /** Whether the frame, of `lone` alone (may be null), is to wait; then or before `over` it is
     * asked again. */
    bool must_wait(wlr_surface* lone, int64_t now_ns);
    /** It is shown as it can be: nothing waits any more. */
    void end() { since_ns_ = 0; }
    bool waits() const { return since_ns_ != 0; }

private:
    static int handle_timeout(void* data);

    BufferLending& lending_;
    std::function<void()> over_;
    EventSource timer_;
    int64_t since_ns_ = 0;  // 0: no frame waits
};

}  // namespace stepscope
