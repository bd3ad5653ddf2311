// SPDX-License-Identifier: LGPL-2.1-or-later
#include "refresh_rate.hpp"

#include <charconv>
#include <cmath>
#include <format>
#include <numeric>

namespace stepscope {
namespace {

template <typename T>
bool parse_all(std::string_view text, T& value) {
    auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    return status == std::errc() && end == text.data() + text.size();
}

}  // namespace

int32_t RefreshRate::millihertz() const {
    return static_cast<int32_t>((uint64_t{numerator} * 1000 + denominator / 2) / denominator);
}

int64_t RefreshRate::period_start_ns(int64_t index) const {
    if (unlimited()) {
        return 0;
    }
    __extension__ using Wide = __int128;
    return static_cast<int64_t>(Wide{index} * 1'000'000'000 * denominator / numerator);
}

bool valid_refresh_rate(const RefreshRate& rate) {
    return rate.denominator != 0 &&
           uint64_t{rate.numerator} <= uint64_t{kMaxRefreshHertz} * rate.denominator;
}

Result<RefreshRate> parse_refresh_rate(std::string_view text) {
    auto bad = [&] {
        return fail(Fault::usage,
                    std::format("'{}' is no refresh rate; expected a number of Hz up to {} such as "
                                "60, 59.94 or 60000/1001, or 0 for no limit",
                                text, kMaxRefreshHertz));
    };
    RefreshRate rate;
    if (auto slash = text.find('/'); slash != std::string_view::npos) {
        if (!parse_all(text.substr(0, slash), rate.numerator) ||
            !parse_all(text.substr(slash + 1), rate.denominator) || !valid_refresh_rate(rate)) {
            return bad();
        }
    } else {
        double hertz = 0;
        if (!parse_all(text, hertz) || !std::isfinite(hertz) || hertz < 0 ||
            hertz > kMaxRefreshHertz) {
            return bad();
        }
        // Television rates are written rounded but mean n*1000/1001.
        double ntsc = std::round(hertz * 1.001);
        if (std::abs(ntsc * 1000 / 1001 - hertz) < 0.0051 && hertz != std::round(hertz)) {
            rate = {static_cast<uint32_t>(ntsc) * 1000, 1001};
        } else {
            rate = {static_cast<uint32_t>(std::llround(hertz * 1000)), 1000};
        }
    }
    if (rate.numerator == 0) {
        return RefreshRate{0, 1};
    }
    uint32_t divisor = std::gcd(rate.numerator, rate.denominator);
    return RefreshRate{rate.numerator / divisor, rate.denominator / divisor};
}

std::string to_string(const RefreshRate& rate) {
    if (rate.unlimited()) {
        return "unlimited";
    }
    if (rate.denominator == 1) {
        return std::to_string(rate.numerator);
    }
    return std::format("{}/{}", rate.numerator, rate.denominator);
}

}  // namespace stepscope
