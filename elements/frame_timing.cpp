// SPDX-License-Identifier: LGPL-2.1-or-later
#include "frame_timing.hpp"

#include <chrono>
#include <mutex>
#include <utility>

namespace stepscope {

GstClockTime to_clock_time(GstClock* clock, uint64_t monotonic_ns) {
    if (gst_clock_is_system_monotonic(clock)) {
        return monotonic_ns;
    }
    const auto monotonic_now = static_cast<uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
    const GstClockTime clock_now = gst_clock_get_time(clock);
    if (monotonic_ns >= monotonic_now) {
        return clock_now + (monotonic_ns - monotonic_now);
    }
    const uint64_t age = monotonic_now - monotonic_ns;
    return clock_now > age ? clock_now - age : 0;
}

/** Outlives the timer: the clock may call back while the timer is being stopped. */
struct TickTimer::Wake {
    std::mutex mutex;
    std::function<void()> function;  // guarded by mutex
    bool fired = false;              // guarded by mutex
};

TickTimer::TickTimer(std::function<void()> wake) : wake_(std::make_shared<Wake>()) {
    wake_->function = std::move(wake);
}

TickTimer::~TickTimer() {
    stop();
    std::lock_guard lock(wake_->mutex);
    wake_->function = nullptr;
}

void TickTimer::start(GstClock* clock, GstClockTime first, const RefreshRate& rate) {
    stop();
    clock_ = GST_CLOCK(gst_object_ref(clock));
    first_ = first;
    rate_ = rate;
    next_ = 1;
}

void TickTimer::stop() {
    disarm();
    g_clear_pointer(&clock_, gst_object_unref);
}

void TickTimer::disarm() {
    if (armed_ != nullptr) {
        gst_clock_id_unschedule(armed_);
        gst_clock_id_unref(std::exchange(armed_, nullptr));
    }
}

GstClockTime TickTimer::tick_time(int64_t index) const {
    return first_ + static_cast<GstClockTime>(rate_.period_start_ns(index));
}

bool TickTimer::due() {
    const GstClockTime tick = tick_time(next_);
    if (gst_clock_get_time(clock_) >= tick) {
        disarm();
        return true;
    }
    {
        // Woken before the tick: the clock was set back. Wait again.
        std::lock_guard lock(wake_->mutex);
        if (wake_->fired) {
            disarm();
            wake_->fired = false;
        }
    }
    if (armed_ == nullptr) {
        armed_ = gst_clock_new_single_shot_id(clock_, tick);
        auto called = [](GstClock*, GstClockTime, GstClockID, gpointer data) -> gboolean {
            // Called on a thread of the clock when the tick is due or was given up.
            Wake& wake = **static_cast<std::shared_ptr<Wake>*>(data);
            std::lock_guard lock(wake.mutex);
            wake.fired = true;
            if (wake.function) {
                wake.function();
            }
            return TRUE;
        };
        gst_clock_id_wait_async(
            armed_, called, new std::shared_ptr<Wake>(wake_),
            [](gpointer data) { delete static_cast<std::shared_ptr<Wake>*>(data); });
    }
    return false;
}

GstClockTime TickTimer::take() {
    const GstClockTime now = gst_clock_get_time(clock_);
    while (tick_time(next_ + 1) <= now) {
        ++next_;
    }
    return tick_time(next_++);
}

}  // namespace stepscope
