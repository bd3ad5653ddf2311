// SPDX-License-Identifier: LGPL-2.1-or-later
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "x11_input.hpp"

namespace stepscope::testgame {

X11Clipboard::X11Clipboard(const X11Display& display, Game& game, const X11Window& window)
    : display_(display),
      game_(game),
      window_(window),
      clipboard_(display.atom("CLIPBOARD")),
      text_type_(display.atom("UTF8_STRING")),
      targets_(display.atom("TARGETS")) {
    offer();
}

void X11Clipboard::offer() {
    if (game_.options().set_clipboard) {
        xcb_set_selection_owner(display_.connection, window_.id(), clipboard_, XCB_CURRENT_TIME);
        game_.report().write("clipboard_offered");
    }
}

void X11Clipboard::request() {
    xcb_convert_selection(display_.connection, window_.id(), clipboard_, text_type_, clipboard_,
                          XCB_CURRENT_TIME);
}

void X11Clipboard::answer(const xcb_selection_request_event_t& request) {
    xcb_connection_t* connection = display_.connection;
    xcb_selection_notify_event_t notify{};
    notify.response_type = XCB_SELECTION_NOTIFY;
    notify.time = request.time;
    notify.requestor = request.requestor;
    notify.selection = request.selection;
    notify.target = request.target;
    notify.property = request.property;
    if (request.target == targets_) {
        const std::array<xcb_atom_t, 2> targets = {targets_, text_type_};
        xcb_change_property(connection, XCB_PROP_MODE_REPLACE, request.requestor, request.property,
                            XCB_ATOM_ATOM, 32, targets.size(), targets.data());
    } else if (request.target == text_type_) {
        const std::string text = game_.options().set_clipboard.value_or("");
        xcb_change_property(connection, XCB_PROP_MODE_REPLACE, request.requestor, request.property,
                            text_type_, 8, static_cast<uint32_t>(text.size()), text.data());
        game_.report().write("clipboard_sent", {{"complete", true}});
    } else {
        notify.property = XCB_ATOM_NONE;
    }
    // xcb sends 32 bytes, more than this event has.
    std::array<char, 32> bytes{};
    std::copy_n(reinterpret_cast<const char*>(&notify), sizeof notify, bytes.data());
    xcb_send_event(connection, 0, request.requestor, XCB_EVENT_MASK_NO_EVENT, bytes.data());
}

void X11Clipboard::receive(const xcb_selection_notify_event_t& notify) {
    if (notify.property == XCB_ATOM_NONE) {
        game_.report().write("clipboard_empty");
        return;
    }
    const XcbPtr<xcb_get_property_reply_t> reply(
        xcb_get_property_reply(display_.connection,
                               xcb_get_property(display_.connection, 1, window_.id(),
                                                notify.property, text_type_, 0, 1U << 20),
                               nullptr));
    if (reply) {
        game_.report().write(
            "clipboard",
            {{"text",
              std::string(static_cast<const char*>(xcb_get_property_value(reply.get())),
                          static_cast<size_t>(xcb_get_property_value_length(reply.get())))}});
    }
}

bool X11Clipboard::handle(const xcb_generic_event_t& event) {
    switch (event.response_type & 0x7f) {
        case XCB_SELECTION_REQUEST:
            answer(reinterpret_cast<const xcb_selection_request_event_t&>(event));
            return true;
        case XCB_SELECTION_NOTIFY:
            receive(reinterpret_cast<const xcb_selection_notify_event_t&>(event));
            return true;
        case XCB_SELECTION_CLEAR:
            game_.report().write("clipboard_lost");
            return true;
        default:
            return false;
    }
}

}  // namespace stepscope::testgame
