// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_cycle.hpp"

#include "pacer.hpp"

namespace stepscope {
namespace {

/** A cycle that takes longer has a consumer in it that stands still. */
constexpr int64_t kStalledNs = 100'000'000;
/** Where each commit is a frame. */
constexpr int64_t kUnknownPeriodNs = 16'666'667;

}  // namespace

void PipewireCycle::stop() {
    stream_ = nullptr;
    position_ = nullptr;
    running_ = false;
}

void PipewireCycle::set_position(void* area, uint32_t size, const RefreshRate& rate) {
    position_ = area != nullptr && size >= sizeof(spa_io_position)
                    ? static_cast<spa_io_position*>(area)
                    : nullptr;
    // Nodes count from what they find here when they start.
    set_clock(rate);
}

// Samples of a nanosecond since the epoch of CLOCK_MONOTONIC: consumers that count samples and
// those that read the time arrive at the same.
void PipewireCycle::set_clock(const RefreshRate& rate) {
    if (position_ == nullptr || stream_ == nullptr || !pw_stream_is_driving(stream_)) {
        return;
    }
    const auto now_ns = static_cast<uint64_t>(monotonic_ns());
    spa_io_clock& clock = position_->clock;
    clock.nsec = now_ns;
    clock.rate = {1, 1'000'000'000};
    clock.position = now_ns;
    clock.duration =
        static_cast<uint64_t>(rate.unlimited() ? kUnknownPeriodNs : rate.period_start_ns(1));
    clock.delay = 0;
    clock.rate_diff = 1.0;
    clock.next_nsec = now_ns + clock.duration;
}

void PipewireCycle::begin(int64_t time_ns, const RefreshRate& rate) {
    since_ns_ = time_ns;
    running_ = pw_stream_is_driving(stream_);
    if (running_) {
        set_clock(rate);
    }
    pw_stream_trigger_process(stream_);
}

void PipewireCycle::end() {
    running_ = false;
    done_ = picture_;
}

bool PipewireCycle::stalled(int64_t now_ns) const {
    return running_ && now_ns - since_ns_ > kStalledNs;
}

}  // namespace stepscope
