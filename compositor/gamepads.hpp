// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gamepad.hpp"
#include "stepscope-control-v1-server-protocol.h"
#include "wlr.hpp"

namespace stepscope {

/** The gamepads of a session, and the protocol's side of them. Outlives the control display. */
class Gamepads {
public:
    /** Makes so many, from now until the end of the session. */
    Result<void> create(unsigned count);
    uint32_t count() const { return static_cast<uint32_t>(pads_.size()); }
    /** Their files in /dev/input, separated by colons. */
    std::string nodes() const;

    /** Gives one to a client; `number` is less than count(). */
    void create_resource(wl_client* client, uint32_t version, uint32_t id, uint32_t number);

private:
    struct Hand;

    static Hand* hand_of(wl_resource* resource);
    static void handle_button(wl_client* client, wl_resource* resource, uint32_t button,
                              uint32_t state);
    static void handle_axis(wl_client* client, wl_resource* resource, uint32_t axis, int32_t value);
    static void handle_frame(wl_client* client, wl_resource* resource);
    static const struct stepscope_gamepad_v1_interface kRequests;

    std::vector<std::unique_ptr<Gamepad>> pads_;
};

}  // namespace stepscope
