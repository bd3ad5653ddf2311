// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gamepad_layout.hpp"

#include <linux/input-event-codes.h>

#include <array>

#include "stepscope-control-v1-server-protocol.h"

namespace stepscope {
namespace {

constexpr uint32_t kUp = STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_UP;
constexpr uint32_t kDown = STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_DOWN;
constexpr uint32_t kLeft = STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_LEFT;
constexpr uint32_t kRight = STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_RIGHT;

// In the protocol's order. The driver calls buttons by what is printed on them: its X, which is on
// the left, has the code that is also named BTN_NORTH.
constexpr std::array<uint16_t, kUp> kButtons{BTN_A,      BTN_B,    BTN_X,     BTN_Y,
                                             BTN_SELECT, BTN_MODE, BTN_START, BTN_THUMBL,
                                             BTN_THUMBR, BTN_TL,   BTN_TR};

constexpr std::array<uint16_t, 6> kAxes{ABS_X, ABS_Y, ABS_RX, ABS_RY, ABS_Z, ABS_RZ};

}  // namespace

std::optional<EvdevEvent> GamepadLayout::press(uint32_t button, bool down) {
    if (button < kButtons.size()) {
        return EvdevEvent{EV_KEY, kButtons[button], down ? 1 : 0};
    }
    if (button > kRight) {
        return std::nullopt;
    }
    if (down) {
        directions_.insert(button);
    } else {
        directions_.erase(button);
    }
    auto value = [this](uint32_t negative, uint32_t positive) {
        return static_cast<int32_t>(directions_.contains(positive)) -
               static_cast<int32_t>(directions_.contains(negative));
    };
    return button == kUp || button == kDown ? EvdevEvent{EV_ABS, ABS_HAT0Y, value(kUp, kDown)}
                                            : EvdevEvent{EV_ABS, ABS_HAT0X, value(kLeft, kRight)};
}

std::optional<EvdevEvent> GamepadLayout::move(uint32_t axis, int32_t value) {
    if (axis >= kAxes.size()) {
        return std::nullopt;
    }
    const bool trigger = axis >= STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_TRIGGER;
    if (value < (trigger ? 0 : kStickMin) || value > kStickMax) {
        return std::nullopt;
    }
    if (trigger) {
        value = (value * kTriggerMax + kStickMax / 2) / kStickMax;
    }
    return EvdevEvent{EV_ABS, kAxes[axis], value};
}

}  // namespace stepscope
