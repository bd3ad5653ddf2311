// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include "wlr.hpp"

namespace stepscope {

/**
 * Sees to it that no event stays unread in the window manager's connection to the X server.
 *
 * libxcb also reads when it writes or waits for a reply, and keeps the events that it found for the
 * next look. wlroots 0.20 only looks when the socket has something to read: an event that came
 * along with a flush lies there until the server happens to send another one, and a game whose
 * request to be shown is among them waits as long.
 *
 * Belongs to the compositor's thread.
 */
class XwmEvents {
public:
    /** `xwayland` outlives this, and its `data` and `user_event_handler` are used by it. */
    explicit XwmEvents(wlr_xwayland* xwayland);
    ~XwmEvents();
    XwmEvents(const XwmEvents&) = delete;
    XwmEvents& operator=(const XwmEvents&) = delete;

    /** The connection is a new one. */
    void reset();
    /** Bytes were read that no look at the events came after. */
    bool unread() const;
    /** Where there may be an event, has the server send another one. Call before each sleep. */
    void wake();

private:
    static bool handle_event(wlr_xwayland* xwayland, xcb_generic_event_t* event);
    /** Null while no server runs. */
    xcb_connection_t* connection() const;

    wlr_xwayland* xwayland_;
    uint64_t looked_at_ = 0;  // bytes read at the last event that wlroots took
    uint64_t woken_at_ = 0;   // bytes read when wake() last sent something
};

}  // namespace stepscope
