// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include "base/refresh_rate.hpp"

namespace stepscope {

/**
 * Where the steps of a stream lie in its time: step k covers [k/rate, (k+1)/rate), in whole
 * nanoseconds that never drift. A new rate begins where the old one got to.
 */
class StepTimeline {
public:
    void set_rate(const RefreshRate& rate) {
        if (!(rate == rate_)) {
            origin_ns_ = now_ns();
            index_ = 0;
            rate_ = rate;
        }
    }
    bool has_rate() const { return !rate_.unlimited(); }
    const RefreshRate& rate() const { return rate_; }

    /** Length of the next step. */
    uint64_t length_ns() const {
        return static_cast<uint64_t>(rate_.period_start_ns(index_ + 1) -
                                     rate_.period_start_ns(index_));
    }
    void advance() { ++index_; }

    /** Time that all steps so far have taken. */
    uint64_t now_ns() const {
        return origin_ns_ + static_cast<uint64_t>(rate_.period_start_ns(index_));
    }
    /** Start of the step before the next one. */
    uint64_t last_start_ns() const {
        return index_ > 0 ? origin_ns_ + static_cast<uint64_t>(rate_.period_start_ns(index_ - 1))
                          : origin_ns_;
    }
    /** Start of the step `count` after that. */
    uint64_t start_after_last_ns(int64_t count) const {
        return origin_ns_ + static_cast<uint64_t>(rate_.period_start_ns(index_ - 1 + count));
    }

private:
    RefreshRate rate_{0, 1};
    uint64_t origin_ns_ = 0;
    int64_t index_ = 0;
};

}  // namespace stepscope
