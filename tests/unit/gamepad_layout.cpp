// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gamepad_layout.hpp"

#include <linux/input-event-codes.h>

#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "stepscope-control-v1-server-protocol.h"

using stepscope::EvdevEvent;
using stepscope::GamepadLayout;

namespace {
EvdevEvent key(uint16_t code, int32_t value) {
    return {EV_KEY, code, value};
}
EvdevEvent absolute(uint16_t code, int32_t value) {
    return {EV_ABS, code, value};
}
}  // namespace

TEST_CASE("buttons are where the driver of the Xbox 360 controller has them") {
    GamepadLayout layout;
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_A, true) == key(BTN_SOUTH, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_A, false) == key(BTN_SOUTH, 0));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_B, true) == key(BTN_EAST, 1));
    // Not by the compass, but by what is printed on them.
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_X, true) == key(0x133, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_Y, true) == key(0x134, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_BACK, true) == key(BTN_SELECT, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_GUIDE, true) == key(BTN_MODE, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_START, true) == key(BTN_START, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_LEFT_STICK, true) == key(BTN_THUMBL, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_RIGHT_STICK, true) == key(BTN_THUMBR, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_LEFT_SHOULDER, true) == key(BTN_TL, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_RIGHT_SHOULDER, true) == key(BTN_TR, 1));
    CHECK_FALSE(layout.press(15, true));
    CHECK_FALSE(layout.press(std::numeric_limits<uint32_t>::max(), true));
}

TEST_CASE("the directional pad is a hat") {
    GamepadLayout layout;
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_UP, true) == absolute(ABS_HAT0Y, -1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_LEFT, true) == absolute(ABS_HAT0X, -1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_UP, false) == absolute(ABS_HAT0Y, 0));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_DOWN, true) == absolute(ABS_HAT0Y, 1));
    // Both sides at once are none, and the other one when one is let go.
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_RIGHT, true) == absolute(ABS_HAT0X, 0));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_LEFT, false) == absolute(ABS_HAT0X, 1));
    CHECK(layout.press(STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_LEFT, false) == absolute(ABS_HAT0X, 1));
}

TEST_CASE("sticks keep their value, triggers have that of the device") {
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_X, -32768) == absolute(ABS_X, -32768));
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_Y, 32767) == absolute(ABS_Y, 32767));
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_RIGHT_X, 1) == absolute(ABS_RX, 1));
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_RIGHT_Y, 0) == absolute(ABS_RY, 0));
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_TRIGGER, 0) == absolute(ABS_Z, 0));
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_TRIGGER, 32767) ==
          absolute(ABS_Z, 255));
    CHECK(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_RIGHT_TRIGGER, 16384) ==
          absolute(ABS_RZ, 128));
    CHECK_FALSE(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_TRIGGER, -1));
    CHECK_FALSE(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_X, 32768));
    CHECK_FALSE(GamepadLayout::move(STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_X, -32769));
    CHECK_FALSE(GamepadLayout::move(6, 0));
}
