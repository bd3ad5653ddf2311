// SPDX-License-Identifier: LGPL-2.1-or-later
#include "compositor/gate_in_force.hpp"

#include <catch2/catch_test_macros.hpp>

#include "base/clock_page.hpp"

using namespace stepscope;

namespace {

constexpr uint32_t kNoApis = 0;

}  // namespace

TEST_CASE("no gate is in force before a picture") {
    CHECK(GateInForce().gate() == Gate::none);
}

TEST_CASE("a picture after a present is held by the present gate, any other by callbacks") {
    GateInForce gate;
    gate.note_picture(0, kNoApis);
    CHECK(gate.gate() == Gate::callbacks);
    gate.note_picture(1, clock::kPresentEgl);
    CHECK(gate.gate() == Gate::present);
}

TEST_CASE("a cursor or a menu in between is not another gate, ten pictures are") {
    GateInForce gate;
    gate.note_picture(1, clock::kPresentVulkan);
    for (int picture = 1; picture < 10; ++picture) {
        gate.note_picture(0, clock::kPresentVulkan);
        CHECK(gate.gate() == Gate::present);
    }
    gate.note_picture(2, clock::kPresentVulkan);
    for (int picture = 1; picture < 10; ++picture) {
        gate.note_picture(0, clock::kPresentVulkan);
    }
    CHECK(gate.gate() == Gate::present);
    gate.note_picture(0, clock::kPresentVulkan);
    CHECK(gate.gate() == Gate::callbacks);
}
