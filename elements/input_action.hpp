// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <string>
#include <variant>
#include <vector>

#include "base/error.hpp"

namespace stepscope {

struct KeyAction {
    std::string keysym;  // name of an X keysym such as "Up", "a" or "space"
    bool pressed = false;
};
struct MoveAction {
    double x = 0;  // pixels of the picture
    double y = 0;
};
struct RelativeMoveAction {
    double dx = 0;
    double dy = 0;
};
struct ButtonAction {
    int number = 0;  // as X counts them: 1 left, 2 middle, 3 right, 4 to 7 wheel, 8 side, 9 extra
    bool pressed = false;
};
struct ScrollAction {
    double right = 0;  // clicks of a wheel
    double up = 0;
};
struct GamepadButtonAction {
    unsigned gamepad = 0;  // the session's, from 0
    std::string button;    // as SDL names it: "a", "dpup", "leftshoulder"
    bool pressed = false;
};
struct GamepadAxisAction {
    unsigned gamepad = 0;
    std::string axis;  // as SDL names it: "leftx", "righttrigger"
    double value = 0;  // -1 to 1, right and down are positive; 0 to 1 for triggers
};
using InputAction = std::variant<KeyAction, MoveAction, RelativeMoveAction, ButtonAction,
                                 ScrollAction, GamepadButtonAction, GamepadAxisAction>;

/** What one input event asks for, in order; empty for events that are not for a game. */
using InputActions = std::vector<InputAction>;

/** A GstNavigation event. */
InputActions parse_navigation(GstEvent* event);

/** A structure of the action signal send-input; the error names what was expected. */
Result<InputActions> parse_input(const GstStructure* structure);

/** The structure of an upstream event "stepscope-input": the same, with the name in "type". */
Result<InputActions> parse_input_event(const GstStructure* structure);

}  // namespace stepscope
