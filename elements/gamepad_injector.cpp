// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gamepad_injector.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <format>
#include <optional>
#include <span>
#include <string_view>

#include "stepscope-control-v1-client-protocol.h"

namespace stepscope {
namespace {

// The names that SDL uses, in the protocol's order.
constexpr std::array<std::string_view, 15> kButtons{"a",
                                                    "b",
                                                    "x",
                                                    "y",
                                                    "back",
                                                    "guide",
                                                    "start",
                                                    "leftstick",
                                                    "rightstick",
                                                    "leftshoulder",
                                                    "rightshoulder",
                                                    "dpup",
                                                    "dpdown",
                                                    "dpleft",
                                                    "dpright"};
constexpr std::array<std::string_view, 6> kAxes{"leftx",  "lefty",       "rightx",
                                                "righty", "lefttrigger", "righttrigger"};

constexpr double kFull = 32767;

std::optional<uint32_t> find(std::span<const std::string_view> names, std::string_view name) {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) {
        return std::nullopt;
    }
    return static_cast<uint32_t>(found - names.begin());
}

std::string joined(std::span<const std::string_view> names) {
    std::string text;
    for (std::string_view name : names) {
        text += (text.empty() ? "" : ", ") + std::string(name);
    }
    return text;
}

bool is_trigger(uint32_t axis) {
    return axis >= STEPSCOPE_GAMEPAD_V1_AXIS_LEFT_TRIGGER;
}

}  // namespace

GamepadInjector::GamepadInjector(std::shared_ptr<ControlClient> control)
    : control_(std::move(control)) {}

GamepadInjector::~GamepadInjector() {
    for (const auto& [number, pad] : pads_) {
        stepscope_gamepad_v1_destroy(pad);
    }
}

Result<void> GamepadInjector::check_number(unsigned gamepad) const {
    if (gamepad >= control_->gamepads()) {
        return fail(Fault::unsupported,
                    std::format("session '{}' has no gamepad {}, it has {}; start it with: "
                                "stepscope --gamepads {}",
                                control_->name(), gamepad, control_->gamepads(), gamepad + 1));
    }
    return {};
}

Result<void> GamepadInjector::check(const GamepadButtonAction& action) const {
    if (!find(kButtons, action.button)) {
        return fail(Fault::usage, std::format("a gamepad has no button '{}'; expected one of {}",
                                              action.button, joined(kButtons)));
    }
    return check_number(action.gamepad);
}

Result<void> GamepadInjector::check(const GamepadAxisAction& action) const {
    const auto axis = find(kAxes, action.axis);
    if (!axis) {
        return fail(Fault::usage, std::format("a gamepad has no axis '{}'; expected one of {}",
                                              action.axis, joined(kAxes)));
    }
    const int lowest = is_trigger(*axis) ? 0 : -1;
    if (!(action.value >= lowest && action.value <= 1)) {
        return fail(Fault::usage, std::format("the gamepad's axis '{}' can't be at {}; expected {} "
                                              "to 1",
                                              action.axis, action.value, lowest));
    }
    return check_number(action.gamepad);
}

void GamepadInjector::apply(const GamepadButtonAction& action) {
    if (const auto button = find(kButtons, action.button)) {
        stepscope_gamepad_v1* device = pad(action.gamepad);
        stepscope_gamepad_v1_button(device, *button, action.pressed ? 1 : 0);
        stepscope_gamepad_v1_frame(device);
    }
}

void GamepadInjector::apply(const GamepadAxisAction& action) {
    if (const auto axis = find(kAxes, action.axis)) {
        stepscope_gamepad_v1* device = pad(action.gamepad);
        stepscope_gamepad_v1_axis(device, *axis,
                                  static_cast<int32_t>(std::lround(action.value * kFull)));
        stepscope_gamepad_v1_frame(device);
    }
}

stepscope_gamepad_v1* GamepadInjector::pad(unsigned gamepad) {
    stepscope_gamepad_v1*& device = pads_[gamepad];
    if (device == nullptr) {
        device = control_->create_gamepad(gamepad);
    }
    return device;
}

}  // namespace stepscope
