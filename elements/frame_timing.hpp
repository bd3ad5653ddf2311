// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <functional>
#include <memory>

#include "base/refresh_rate.hpp"

namespace stepscope {

/** The reading of `clock` at which CLOCK_MONOTONIC read, or will read, `monotonic_ns`. */
GstClockTime to_clock_time(GstClock* clock, uint64_t monotonic_ns);

/**
 * Ticks of a constant rate on a GStreamer clock. Times are computed from the first tick, so they
 * never drift; ticks that nobody took in time are left out.
 */
class TickTimer {
public:
    /** `wake` is called on a thread of the clock when a tick is due. */
    explicit TickTimer(std::function<void()> wake);
    ~TickTimer();
    TickTimer(const TickTimer&) = delete;
    TickTimer& operator=(const TickTimer&) = delete;

    /** Begins with a tick at `first`, which counts as taken. */
    void start(GstClock* clock, GstClockTime first, const RefreshRate& rate);
    void stop();
    bool running() const { return clock_ != nullptr; }
    GstClockTime first() const { return first_; }

    /** True if a tick is due; else the timer wakes when it is. */
    bool due();
    /** Takes the tick that is due and returns its clock time. */
    GstClockTime take();

private:
    struct Wake;

    GstClockTime tick_time(int64_t index) const;
    void disarm();

    std::shared_ptr<Wake> wake_;
    GstClock* clock_ = nullptr;  // a reference while running
    GstClockID armed_ = nullptr;
    GstClockTime first_ = 0;
    RefreshRate rate_;
    int64_t next_ = 1;
};

}  // namespace stepscope
