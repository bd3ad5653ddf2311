// SPDX-License-Identifier: LGPL-2.1-or-later
#include "xwm_events.hpp"

namespace stepscope {

namespace {

// What the server sends back: a message of no type, which nobody else has a use for.
bool is_wake_up(const xcb_generic_event_t& event) {
    const auto& message = reinterpret_cast<const xcb_client_message_event_t&>(event);
    return (event.response_type & ~0x80) == XCB_CLIENT_MESSAGE && message.type == XCB_ATOM_NONE;
}

}  // namespace

XwmEvents::XwmEvents(wlr_xwayland* xwayland) : xwayland_(xwayland) {
    xwayland_->data = this;
    xwayland_->user_event_handler = handle_event;
}

XwmEvents::~XwmEvents() {
    xwayland_->user_event_handler = nullptr;
    xwayland_->data = nullptr;
}

void XwmEvents::reset() {
    looked_at_ = 0;
    woken_at_ = 0;
}

xcb_connection_t* XwmEvents::connection() const {
    return wlr_xwayland_get_xwm_connection(xwayland_);
}

// wlroots takes events until there are none left: those after this one are taken, too.
bool XwmEvents::handle_event(wlr_xwayland* xwayland, xcb_generic_event_t* event) {
    auto* self = static_cast<XwmEvents*>(xwayland->data);
    self->looked_at_ = xcb_total_read(self->connection());
    return is_wake_up(*event);
}

bool XwmEvents::unread() const {
    xcb_connection_t* connection = this->connection();
    return connection != nullptr && xcb_total_read(connection) != looked_at_;
}

void XwmEvents::wake() {
    if (!unread()) {
        return;
    }
    xcb_connection_t* connection = this->connection();
    const uint64_t read = xcb_total_read(connection);
    if (read == woken_at_) {
        return;  // the answer is on its way
    }
    woken_at_ = read;
    xcb_client_message_event_t message{};
    message.response_type = XCB_CLIENT_MESSAGE;
    message.format = 32;
    const xcb_window_t root = xcb_setup_roots_iterator(xcb_get_setup(connection)).data->root;
    message.window = root;
    // The window manager is the one client that can ask for this mask.
    xcb_send_event(connection, 0, root, XCB_EVENT_MASK_SUBSTRUCTURE_REDIRECT,
                   reinterpret_cast<const char*>(&message));
    xcb_flush(connection);
}

}  // namespace stepscope
