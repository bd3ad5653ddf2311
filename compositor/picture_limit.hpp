// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include "base/refresh_rate.hpp"

namespace stepscope {

/** Holds pictures to a rate that a consumer asked for. */
class PictureLimit {
public:
    void reset() { due_ns_ = 0; }
    /** How long a picture of that time has to wait; 0: it goes out now, and counts. */
    int64_t wait_ns(const RefreshRate& limit, int64_t time_ns) {
        if (limit.unlimited()) {
            return 0;
        }
        const int64_t period = limit.period_start_ns(1);
        if (due_ns_ != 0 && time_ns < due_ns_ - period / kEarlyPart) {
            return due_ns_ - time_ns;
        }
        // On the consumer's beat, but never to make up for what was missed.
        const int64_t next_ns = due_ns_ + period;
        due_ns_ = due_ns_ != 0 && next_ns > time_ns ? next_ns : time_ns + period;
        return 0;
    }

private:
    /** Pictures that are a little early are on time: games do not keep to the nanosecond. */
    static constexpr int64_t kEarlyPart = 8;

    int64_t due_ns_ = 0;
};

}  // namespace stepscope
