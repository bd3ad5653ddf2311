// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <functional>

#include "base/refresh_rate.hpp"
#include "base/unique_fd.hpp"
#include "wlr.hpp"

namespace stepscope {

/**
 * The beat of an output that has no monitor: deadlines at epoch + k periods, computed from k each
 * time, so that they never drift. Idle until asked for the next one.
 */
class Pacer {
public:
    /**
     * `tick` is called on the loop's thread, once per arm(), at or after the deadline. It gets the
     * time of the beat: the deadline, or a later one if the loop was busy beyond that.
     */
    Pacer(wl_event_loop* loop, std::function<void(int64_t beat_ns)> tick);

    /** Starts a new grid now. */
    void set_rate(const RefreshRate& rate);
    const RefreshRate& rate() const { return rate_; }

    /** Variable refresh: the next deadline is one period after the previous frame, not on a grid.
     */
    void set_adaptive(bool adaptive) { adaptive_ = adaptive; }

    /** Whether a frame may be shown at `now_ns`: no other was in the same period. */
    bool due(int64_t now_ns) const;
    /** A frame was shown at `now_ns`. */
    void mark(int64_t now_ns);
    /** Asks for a tick at the next deadline. */
    void arm();

private:
    static int handle_timer(int fd, uint32_t mask, void* data);
    int64_t period_of(int64_t now_ns) const;
    int64_t beat_of(int64_t now_ns) const;

    std::function<void(int64_t)> tick_;
    RefreshRate rate_;
    bool adaptive_ = false;
    int64_t epoch_ns_ = 0;
    int64_t last_period_ = -1;
    int64_t last_frame_ns_ = INT64_MIN / 2;
    UniqueFd timer_;
    EventSource source_;
};

/** CLOCK_MONOTONIC in nanoseconds. */
int64_t monotonic_ns();
timespec to_timespec(int64_t nanoseconds);

}  // namespace stepscope
