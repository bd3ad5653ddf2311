// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "error.hpp"

namespace stepscope {

/** Frames per second as an exact fraction; 0/1 means: no limit, every commit at once. */
struct RefreshRate {
    uint32_t numerator = 60;
    uint32_t denominator = 1;

    bool unlimited() const { return numerator == 0; }
    double hertz() const { return static_cast<double>(numerator) / denominator; }
    /** For wl_output.mode; 0 where unlimited. */
    int32_t millihertz() const;
    /** Start of period number `index` after an epoch, rounded to the nearest nanosecond below;
     * exact for any index, so that periods never drift. */
    int64_t period_start_ns(int64_t index) const;

    bool operator==(const RefreshRate&) const = default;
};

/** Fastest rate that is not "unlimited". */
inline constexpr uint32_t kMaxRefreshHertz = 1000;

/**
 * Reads "60", "59.94", "60000/1001" or "0" (unlimited). 23.976, 29.97, 59.94 and 119.88 mean
 * their exact NTSC fractions.
 */
Result<RefreshRate> parse_refresh_rate(std::string_view text);

/** True if the fraction can be a rate: denominator not zero, at most kMaxRefreshHertz. */
bool valid_refresh_rate(const RefreshRate& rate);

std::string to_string(const RefreshRate& rate);

}  // namespace stepscope
