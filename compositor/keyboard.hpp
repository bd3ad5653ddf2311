// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <list>
#include <memory>

#include "listener.hpp"
#include "session_clock.hpp"

namespace stepscope {

/**
 * The seat's keyboards. One always exists, so that clients get a keymap and the capability; virtual
 * ones come and go with the consumers that type on them.
 */
class Keyboards {
public:
    Keyboards(wlr_seat* seat, const SessionClock& clock);
    ~Keyboards();

    void add_virtual(wlr_virtual_keyboard_v1* keyboard);
    /** Keyboard focus; null for none. */
    void focus(wlr_surface* surface);

private:
    class Device;

    wlr_seat* seat_;
    const SessionClock& clock_;
    wlr_keyboard default_{};
    std::list<std::unique_ptr<Device>> devices_;
};

}  // namespace stepscope
