// SPDX-License-Identifier: LGPL-2.1-or-later
#include "input_action.hpp"

#include <gst/video/navigation.h>

#include <cmath>
#include <format>
#include <optional>
#include <string_view>

#include "gst/gst_ptr.hpp"

namespace stepscope {
namespace {

constexpr const char* kExpected =
    "expected one of: key, key=(string)Up, pressed=(boolean)true; pointer-motion, x=(double)1, "
    "y=(double)1; pointer-relative, dx=(double)1, dy=(double)1; button, button=(uint)1, "
    "pressed=(boolean)true; axis, dx=(double)0, dy=(double)1; gamepad-button, gamepad=(uint)0, "
    "button=(string)a, pressed=(boolean)true; gamepad-axis, gamepad=(uint)0, axis=(string)leftx, "
    "value=(double)0.5";

constexpr double kMaxGamepads = 256;

/** Whole numbers will do, too: that is what people write. */
std::optional<double> number(const GstStructure* structure, const char* field) {
    double value = 0;
    int whole = 0;
    guint natural = 0;
    if (gst_structure_get_double(structure, field, &value)) {
        return std::isfinite(value) ? std::optional(value) : std::nullopt;
    }
    if (gst_structure_get_int(structure, field, &whole)) {
        return whole;
    }
    if (gst_structure_get_uint(structure, field, &natural)) {
        return natural;
    }
    return std::nullopt;
}

std::optional<bool> flag(const GstStructure* structure, const char* field) {
    gboolean value = FALSE;
    if (!gst_structure_get_boolean(structure, field, &value)) {
        return std::nullopt;
    }
    return value != FALSE;
}

/** The field that says which; the first where there is none. */
std::optional<unsigned> gamepad_of(const GstStructure* structure) {
    if (!gst_structure_has_field(structure, "gamepad")) {
        return 0;
    }
    const auto value = number(structure, "gamepad");
    return value && *value >= 0 && *value < kMaxGamepads
               ? std::optional(static_cast<unsigned>(*value))
               : std::nullopt;
}

std::optional<InputAction> find_gamepad_action(std::string_view type,
                                               const GstStructure* structure) {
    const auto gamepad = gamepad_of(structure);
    if (type == "gamepad-button") {
        const char* button = gst_structure_get_string(structure, "button");
        const auto pressed = flag(structure, "pressed");
        if (gamepad && button != nullptr && pressed) {
            return GamepadButtonAction{*gamepad, button, *pressed};
        }
    } else {
        const char* axis = gst_structure_get_string(structure, "axis");
        const auto value = number(structure, "value");
        if (gamepad && axis != nullptr && value) {
            return GamepadAxisAction{*gamepad, axis, *value};
        }
    }
    return std::nullopt;
}

std::optional<InputAction> find_action(std::string_view type, const GstStructure* structure) {
    if (type == "key") {
        const char* key = gst_structure_get_string(structure, "key");
        const auto pressed = flag(structure, "pressed");
        if (key != nullptr && pressed) {
            return KeyAction{key, *pressed};
        }
    } else if (type == "pointer-motion") {
        const auto x = number(structure, "x");
        const auto y = number(structure, "y");
        if (x && y) {
            return MoveAction{*x, *y};
        }
    } else if (type == "button") {
        const auto button = number(structure, "button");
        const auto pressed = flag(structure, "pressed");
        if (button && pressed && *button >= 1 && *button <= 1000) {
            return ButtonAction{static_cast<int>(*button), *pressed};
        }
    } else if (type == "pointer-relative" || type == "axis") {
        const auto dx = number(structure, "dx");
        const auto dy = number(structure, "dy");
        if (dx && dy) {
            return type == "axis" ? InputAction(ScrollAction{*dx, *dy})
                                  : InputAction(RelativeMoveAction{*dx, *dy});
        }
    } else if (type == "gamepad-button" || type == "gamepad-axis") {
        return find_gamepad_action(type, structure);
    }
    return std::nullopt;
}

Result<InputActions> parse(std::string_view type, const GstStructure* structure) {
    if (auto action = find_action(type, structure)) {
        return InputActions{*action};
    }
    GstPtr<char> text(gst_structure_to_string(structure));
    return fail(Fault::usage, std::format("'{}' is no input; {}", text.get(), kExpected));
}

}  // namespace

Result<InputActions> parse_input(const GstStructure* structure) {
    if (structure == nullptr) {
        return fail(Fault::usage, std::format("there is no input in NULL; {}", kExpected));
    }
    return parse(gst_structure_get_name(structure), structure);
}

Result<InputActions> parse_input_event(const GstStructure* structure) {
    const char* type = gst_structure_get_string(structure, "type");
    return parse(type != nullptr ? type : "", structure);
}

InputActions parse_navigation(GstEvent* event) {
    const GstNavigationEventType type = gst_navigation_event_get_type(event);
    double x = 0;
    double y = 0;
    switch (type) {
        case GST_NAVIGATION_EVENT_KEY_PRESS:
        case GST_NAVIGATION_EVENT_KEY_RELEASE: {
            const char* key = nullptr;
            if (!gst_navigation_event_parse_key_event(event, &key) || key == nullptr) {
                return {};
            }
            return {KeyAction{key, type == GST_NAVIGATION_EVENT_KEY_PRESS}};
        }
        case GST_NAVIGATION_EVENT_MOUSE_MOVE:
            if (!gst_navigation_event_parse_mouse_move_event(event, &x, &y)) {
                return {};
            }
            return {MoveAction{x, y}};
        case GST_NAVIGATION_EVENT_MOUSE_BUTTON_PRESS:
        case GST_NAVIGATION_EVENT_MOUSE_BUTTON_RELEASE: {
            int button = 0;
            if (!gst_navigation_event_parse_mouse_button_event(event, &button, &x, &y)) {
                return {};
            }
            return {MoveAction{x, y},
                    ButtonAction{button, type == GST_NAVIGATION_EVENT_MOUSE_BUTTON_PRESS}};
        }
        case GST_NAVIGATION_EVENT_MOUSE_SCROLL: {
            double right = 0;
            double up = 0;
            if (!gst_navigation_event_parse_mouse_scroll_event(event, &x, &y, &right, &up)) {
                return {};
            }
            return {MoveAction{x, y}, ScrollAction{right, up}};
        }
        default:
            return {};
    }
}

}  // namespace stepscope
