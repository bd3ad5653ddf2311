// SPDX-License-Identifier: LGPL-2.1-or-later
#include "compositor/picture_demand.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace stepscope;

TEST_CASE("demands are read, and written as they are read") {
    const PictureDemand plain{.width = 320, .height = 180, .limit = {0, 1}};
    CHECK(parse_picture_demand("320x180") == plain);
    CHECK(to_string(plain) == "320x180");
    const PictureDemand slow{.width = 16, .height = 16384, .limit = {30000, 1001}};
    CHECK(parse_picture_demand("16x16384@29.97") == slow);
    CHECK(parse_picture_demand(to_string(slow)) == slow);
    CHECK(parse_picture_demand("320x180@0") == plain);
}

TEST_CASE("what is no demand is refused with the text in the message") {
    for (const char* text : {"", "x", "320", "320x", "x180", "320x180x2", "15x180", "320x16385",
                             "-320x180", "320 x 180", "320x180@", "320x180@fast", "320x180@1001"}) {
        CAPTURE(text);
        auto demand = parse_picture_demand(text);
        REQUIRE_FALSE(demand.has_value());
        CHECK(demand.error().fault == Fault::usage);
        CHECK_FALSE(demand.error().message.contains('\n'));
    }
}
