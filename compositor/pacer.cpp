// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pacer.hpp"

#include <sys/timerfd.h>

namespace stepscope {

int64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

timespec to_timespec(int64_t nanoseconds) {
    return {.tv_sec = nanoseconds / 1'000'000'000, .tv_nsec = nanoseconds % 1'000'000'000};
}

Pacer::Pacer(wl_event_loop* loop, std::function<void(int64_t)> tick)
    : tick_(std::move(tick)),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      source_(wl_event_loop_add_fd(loop, timer_.get(), WL_EVENT_READABLE, handle_timer, this)) {}

void Pacer::set_rate(const RefreshRate& rate) {
    rate_ = rate;
    epoch_ns_ = monotonic_ns();
    last_period_ = -1;
    last_frame_ns_ = INT64_MIN / 2;
}

int64_t Pacer::period_of(int64_t now_ns) const {
    // A first guess by division, put right where rounding took it over a boundary.
    const int64_t since = now_ns - epoch_ns_;
    auto index = static_cast<int64_t>(static_cast<double>(since) * rate_.hertz() / 1e9);
    while (rate_.period_start_ns(index + 1) <= since) {
        ++index;
    }
    while (index > 0 && rate_.period_start_ns(index) > since) {
        --index;
    }
    return index;
}

bool Pacer::due(int64_t now_ns) const {
    if (rate_.unlimited()) {
        return true;
    }
    if (adaptive_) {
        return now_ns - last_frame_ns_ >= rate_.period_start_ns(1);
    }
    return period_of(now_ns) > last_period_;
}

void Pacer::mark(int64_t now_ns) {
    if (rate_.unlimited()) {
        return;
    }
    if (adaptive_) {
        // Measured from the deadline where the frame was at most a little late, so that a game at
        // full rate gets exactly that rate.
        const int64_t deadline = last_frame_ns_ + rate_.period_start_ns(1);
        last_frame_ns_ = now_ns - deadline < rate_.period_start_ns(1) / 2 ? deadline : now_ns;
        return;
    }
    last_period_ = period_of(now_ns);
}

int64_t Pacer::beat_of(int64_t now_ns) const {
    if (rate_.unlimited()) {
        return now_ns;
    }
    if (adaptive_) {
        const int64_t deadline = last_frame_ns_ + rate_.period_start_ns(1);
        return now_ns - deadline < rate_.period_start_ns(1) / 2 ? deadline : now_ns;
    }
    return epoch_ns_ + rate_.period_start_ns(period_of(now_ns));
}

void Pacer::arm() {
    int64_t deadline = 0;
    if (adaptive_) {
        deadline = last_frame_ns_ + rate_.period_start_ns(1);
    } else {
        deadline = epoch_ns_ + rate_.period_start_ns(period_of(monotonic_ns()) + 1);
    }
    itimerspec timer{};
    timer.it_value = to_timespec(std::max<int64_t>(deadline, 1));
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &timer, nullptr);
}

int Pacer::handle_timer(int fd, uint32_t /*mask*/, void* data) {
    uint64_t expirations = 0;
    if (::read(fd, &expirations, sizeof(expirations)) == sizeof(expirations)) {
        auto* self = static_cast<Pacer*>(data);
        self->tick_(self->beat_of(monotonic_ns()));
    }
    return 0;
}

}  // namespace stepscope
