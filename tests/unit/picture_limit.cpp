// SPDX-License-Identifier: LGPL-2.1-or-later
#include "compositor/picture_limit.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace stepscope;

namespace {

constexpr int64_t kMs = 1'000'000;

/** How many of a game's pictures go out, at the latest moment before the next one. */
int passed(PictureLimit& limit, const RefreshRate& most, int64_t period_ns, int count) {
    int out = 0;
    for (int i = 0; i < count; ++i) {
        out += limit.wait_ns(most, 1'000 * kMs + i * period_ns) == 0 ? 1 : 0;
    }
    return out;
}

}  // namespace

TEST_CASE("without a limit every picture goes out") {
    PictureLimit limit;
    CHECK(passed(limit, {0, 1}, 10 * kMs, 100) == 100);
}

TEST_CASE("the second picture waits for its turn, too") {
    PictureLimit limit;
    CHECK(limit.wait_ns({10, 1}, 1'000 * kMs) == 0);
    CHECK(limit.wait_ns({10, 1}, 1'010 * kMs) == 90 * kMs);
    CHECK(limit.wait_ns({10, 1}, 1'095 * kMs) == 0);  // a little early is on time
    CHECK(limit.wait_ns({10, 1}, 1'150 * kMs) == 50 * kMs);
    CHECK(limit.wait_ns({10, 1}, 1'200 * kMs) == 0);
}

TEST_CASE("a game of the same rate loses no picture, a faster one keeps the rate") {
    PictureLimit limit;
    CHECK(passed(limit, {20, 1}, 50 * kMs, 100) == 100);
    PictureLimit other;
    CHECK(passed(other, {10, 1}, 20 * kMs, 500) <= 101);
}

TEST_CASE("what was missed is not made up for") {
    PictureLimit limit;
    CHECK(limit.wait_ns({10, 1}, 1'000 * kMs) == 0);
    CHECK(limit.wait_ns({10, 1}, 5'000 * kMs) == 0);
    CHECK(limit.wait_ns({10, 1}, 5'010 * kMs) == 90 * kMs);
    limit.reset();
    CHECK(limit.wait_ns({10, 1}, 5'020 * kMs) == 0);
}
