// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/refresh_rate.hpp"

#include <catch2/catch_test_macros.hpp>

using stepscope::parse_refresh_rate;
using stepscope::RefreshRate;

TEST_CASE("rates are read as exact fractions") {
    CHECK(parse_refresh_rate("60") == RefreshRate{60, 1});
    CHECK(parse_refresh_rate("59.94") == RefreshRate{60000, 1001});
    CHECK(parse_refresh_rate("23.976") == RefreshRate{24000, 1001});
    CHECK(parse_refresh_rate("29.97") == RefreshRate{30000, 1001});
    CHECK(parse_refresh_rate("119.88") == RefreshRate{120000, 1001});
    CHECK(parse_refresh_rate("60000/1001") == RefreshRate{60000, 1001});
    CHECK(parse_refresh_rate("120/2") == RefreshRate{60, 1});
    CHECK(parse_refresh_rate("37.5") == RefreshRate{75, 2});
    CHECK(parse_refresh_rate("0") == RefreshRate{0, 1});
    CHECK(parse_refresh_rate("0/7") == RefreshRate{0, 1});
}

TEST_CASE("what is no rate is refused with the text in the message") {
    for (const char* text : {"", "fast", "60fps", "-1", "1001", "60/0", "1/", "/1", "nan", "inf",
                             "99999999999", "60 ", "1e9"}) {
        CAPTURE(text);
        auto rate = parse_refresh_rate(text);
        REQUIRE_FALSE(rate.has_value());
        CHECK(rate.error().fault == stepscope::Fault::usage);
        CHECK(rate.error().message.contains(std::string("'") + text + "'"));
    }
}

TEST_CASE("periods do not drift") {
    for (RefreshRate rate : {RefreshRate{60, 1}, RefreshRate{60000, 1001}, RefreshRate{144, 1}}) {
        const auto frames = static_cast<int64_t>(rate.numerator) * 3600;  // an hour's multiple
        CHECK(rate.period_start_ns(frames) == int64_t{3600} * 1'000'000'000 * rate.denominator);
        for (int64_t index : {0, 1, 2, 59, 60, 1000}) {
            int64_t period = rate.period_start_ns(index + 1) - rate.period_start_ns(index);
            CHECK(std::abs(static_cast<double>(period) - 1e9 / rate.hertz()) < 1.0);
        }
    }
}

TEST_CASE("wl_output gets millihertz") {
    CHECK(RefreshRate{60000, 1001}.millihertz() == 59940);
    CHECK(RefreshRate{144, 1}.millihertz() == 144000);
    CHECK(RefreshRate{0, 1}.millihertz() == 0);
}
