// SPDX-License-Identifier: LGPL-2.1-or-later
#include "x11_input.hpp"

#include <linux/input-event-codes.h>
#include <xcb/xinput.h>
#include <xkbcommon/xkbcommon.h>

#include <array>
#include <nlohmann/json.hpp>

#include "painter.hpp"

namespace stepscope::testgame {

namespace {

/** The Wayland (evdev) code of an X button, so that reports of both back-ends compare. */
int button_code(uint8_t button) {
    switch (button) {
        case 1:
            return BTN_LEFT;
        case 2:
            return BTN_MIDDLE;
        case 3:
            return BTN_RIGHT;
        case 8:
            return BTN_SIDE;
        case 9:
            return BTN_EXTRA;
        default:
            return button;
    }
}

}  // namespace

X11Input::X11Input(const X11Display& display, Game& game, const X11Window& window)
    : display_(display),
      game_(game),
      window_(window),
      symbols_(xcb_key_symbols_alloc(display.connection)) {
    set_cursor();
    if (display.input_opcode != 0) {
        struct {
            xcb_input_event_mask_t head;
            uint32_t mask;
        } selection = {{XCB_INPUT_DEVICE_ALL_MASTER, 1}, XCB_INPUT_XI_EVENT_MASK_RAW_MOTION};
        xcb_input_xi_select_events(display.connection, display.screen->root, 1, &selection.head);
    }
}

void X11Input::set_cursor() {
    // Core cursors have one bit a pixel. An empty mask makes an invisible one.
    xcb_connection_t* connection = display_.connection;
    const bool arrow = game_.options().cursor == Cursor::arrow;
    const xcb_pixmap_t shape = xcb_generate_id(connection);
    const xcb_gcontext_t graphics = xcb_generate_id(connection);
    const xcb_cursor_t cursor = xcb_generate_id(connection);
    xcb_create_pixmap(connection, 1, shape, window_.id(), kCursorSize, kCursorSize);
    const uint32_t clear = 0;
    xcb_create_gc(connection, graphics, shape, XCB_GC_FOREGROUND, &clear);
    const xcb_rectangle_t all = {0, 0, kCursorSize, kCursorSize};
    xcb_poly_fill_rectangle(connection, shape, graphics, 1, &all);
    if (arrow) {
        const uint32_t set = 1;
        xcb_change_gc(connection, graphics, XCB_GC_FOREGROUND, &set);
        for (int16_t y = 0; y < kCursorSize; ++y) {
            const xcb_rectangle_t line = {0, y, static_cast<uint16_t>(kCursorSize - y), 1};
            xcb_poly_fill_rectangle(connection, shape, graphics, 1, &line);
        }
    }
    xcb_create_cursor(connection, cursor, shape, shape, 0xffff, 0, 0xffff, 0xffff, 0, 0xffff, 0, 0);
    xcb_change_window_attributes(connection, window_.id(), XCB_CW_CURSOR, &cursor);
    xcb_free_cursor(connection, cursor);
    xcb_free_gc(connection, graphics);
    xcb_free_pixmap(connection, shape);
}

void X11Input::try_lock_pointer() {
    if (locked_ || !game_.options().lock_pointer) {
        return;
    }
    const XcbPtr<xcb_grab_pointer_reply_t> reply(xcb_grab_pointer_reply(
        display_.connection,
        xcb_grab_pointer(display_.connection, 1, window_.id(),
                         XCB_EVENT_MASK_BUTTON_PRESS | XCB_EVENT_MASK_BUTTON_RELEASE |
                             XCB_EVENT_MASK_POINTER_MOTION,
                         XCB_GRAB_MODE_ASYNC, XCB_GRAB_MODE_ASYNC, window_.id(), XCB_CURSOR_NONE,
                         XCB_CURRENT_TIME),
        nullptr));
    locked_ = reply && reply->status == XCB_GRAB_STATUS_SUCCESS;
    if (locked_) {
        game_.report().write("pointer_locked");
    }
}

void X11Input::handle_key(const xcb_key_press_event_t& event, bool pressed) {
    const int column = (event.state & XCB_MOD_MASK_SHIFT) != 0 ? 1 : 0;
    xcb_keysym_t symbol = xcb_key_symbols_get_keysym(symbols_.get(), event.detail, column);
    if (symbol == XCB_NO_SYMBOL) {
        symbol = xcb_key_symbols_get_keysym(symbols_.get(), event.detail, 0);
    }
    std::array<char, 64> name{};
    std::array<char, 16> text{};
    xkb_keysym_get_name(symbol, name.data(), name.size());
    xkb_keysym_to_utf8(symbol, text.data(), text.size());
    game_.input("key", {{"code", event.detail - 8},
                        {"keysym", name.data()},
                        {"text", text.data()},
                        {"pressed", pressed}});
}

void X11Input::handle_button(const xcb_button_press_event_t& event, bool pressed) {
    if (event.detail >= 4 && event.detail <= 7) {
        if (pressed) {
            game_.input("axis", {{"axis", event.detail < 6 ? "vertical" : "horizontal"},
                                 {"value", event.detail % 2 == 0 ? -1 : 1}});
        }
        return;
    }
    game_.input("button", {{"button", button_code(event.detail)}, {"pressed", pressed}});
}

void X11Input::handle_motion(const xcb_motion_notify_event_t& event) {
    const int middle_x = window_.width() / 2;
    const int middle_y = window_.height() / 2;
    if (!locked_) {
        game_.input("motion", {{"x", event.event_x}, {"y", event.event_y}});
    } else if (event.event_x != middle_x || event.event_y != middle_y) {
        // What X games do so that the pointer never meets an edge.
        xcb_warp_pointer(display_.connection, XCB_WINDOW_NONE, window_.id(), 0, 0, 0, 0,
                         static_cast<int16_t>(middle_x), static_cast<int16_t>(middle_y));
    }
}

bool X11Input::handle_raw_motion(const xcb_generic_event_t& event) {
    const auto& raw = reinterpret_cast<const xcb_input_raw_motion_event_t&>(event);
    if (raw.extension != display_.input_opcode || raw.event_type != XCB_INPUT_RAW_MOTION) {
        return false;
    }
    // Values are there only for the axes whose bit is set: 0 is x, 1 is y.
    const uint32_t axes =
        raw.valuators_len > 0 ? *xcb_input_raw_button_press_valuator_mask(&raw) : 0;
    const auto* value = xcb_input_raw_button_press_axisvalues(&raw);
    const auto* raw_value = xcb_input_raw_button_press_axisvalues_raw(&raw);
    std::array<double, 2> moved{};
    std::array<double, 2> moved_raw{};
    for (size_t axis = 0; axis < moved.size(); ++axis) {
        if ((axes >> axis & 1U) != 0) {
            moved[axis] = value->integral + value->frac / 4294967296.0;
            moved_raw[axis] = raw_value->integral + raw_value->frac / 4294967296.0;
            ++value;
            ++raw_value;
        }
    }
    game_.input(
        "relative_motion",
        {{"dx", moved[0]}, {"dy", moved[1]}, {"raw_dx", moved_raw[0]}, {"raw_dy", moved_raw[1]}});
    return true;
}

bool X11Input::handle(const xcb_generic_event_t& event) {
    switch (event.response_type & 0x7f) {
        case XCB_KEY_PRESS:
        case XCB_KEY_RELEASE:
            handle_key(reinterpret_cast<const xcb_key_press_event_t&>(event),
                       (event.response_type & 0x7f) == XCB_KEY_PRESS);
            return true;
        case XCB_BUTTON_PRESS:
        case XCB_BUTTON_RELEASE:
            handle_button(reinterpret_cast<const xcb_button_press_event_t&>(event),
                          (event.response_type & 0x7f) == XCB_BUTTON_PRESS);
            return true;
        case XCB_MOTION_NOTIFY:
            handle_motion(reinterpret_cast<const xcb_motion_notify_event_t&>(event));
            return true;
        case XCB_ENTER_NOTIFY:
        case XCB_LEAVE_NOTIFY:
            game_.input("pointer_focus",
                        {{"focused", (event.response_type & 0x7f) == XCB_ENTER_NOTIFY}});
            try_lock_pointer();
            return true;
        case XCB_FOCUS_IN:
        case XCB_FOCUS_OUT:
            game_.input("focus", {{"focused", (event.response_type & 0x7f) == XCB_FOCUS_IN},
                                  {"main", true}});
            try_lock_pointer();
            return true;
        case XCB_GE_GENERIC:
            return handle_raw_motion(event);
        default:
            return false;
    }
}

}  // namespace stepscope::testgame
