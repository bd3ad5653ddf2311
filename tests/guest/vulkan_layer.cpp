// SPDX-License-Identifier: LGPL-2.1-or-later
#include <vulkan/vulkan_core.h>

#include <catch2/catch_test_macros.hpp>

#include "game.hpp"

using namespace stepscope;

TEST_CASE("the Vulkan layer holds a present until the next step") {
    constexpr int64_t kMs = 1'000'000;
    constexpr int64_t kBase = 1'000'000'000'000;
    Game game(std::vector<std::string>{clock_program(), STEPSCOPE_VULKAN_LAYER}, {});
    for (int step = 0; step < 5; ++step) {
        const auto result = game.step(16 * kMs);
        CHECK(result.status == ClockController::StepStatus::presented);
        CHECK(result.presents == 1);
    }
    CHECK(game.step(16 * kMs).status == ClockController::StepStatus::exited);
    int frame = 0;
    for (const Line& line : game.lines()) {
        if (line.name == "frame") {
            CHECK(line.result == frame);
            CHECK(line.value == kBase + 16 * kMs * frame++);
        }
    }
    CHECK(frame == 5);
    CHECK(game.line("instance").result == VK_SUCCESS);
    CHECK(game.line("device").result == VK_SUCCESS);
    // The X server would keep the frame for its next tick.
    CHECK(game.line("x11").result == VK_PRESENT_MODE_IMMEDIATE_KHR);
    CHECK(game.line("wayland").result == VK_PRESENT_MODE_FIFO_KHR);
}
