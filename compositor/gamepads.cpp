// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gamepads.hpp"

#include <set>

namespace stepscope {

/** What one client has pressed and moved; let go with it. */
struct Gamepads::Hand {
    explicit Hand(Gamepad& held) : pad(held) {}
    Hand(const Hand&) = delete;
    Hand& operator=(const Hand&) = delete;
    ~Hand() {
        for (uint32_t button : buttons) {
            pad.press(button, false);
        }
        for (uint32_t axis : axes) {
            pad.move(axis, 0);
        }
        pad.report();
    }

    Gamepad& pad;
    std::set<uint32_t> buttons;
    std::set<uint32_t> axes;
};

const struct stepscope_gamepad_v1_interface Gamepads::kRequests{
    .destroy = [](wl_client*, wl_resource* resource) { wl_resource_destroy(resource); },
    .button = handle_button,
    .axis = handle_axis,
    .frame = handle_frame,
};

Result<void> Gamepads::create(unsigned count) {
    while (pads_.size() < count) {
        auto pad = Gamepad::create();
        if (!pad) {
            return std::unexpected(pad.error());
        }
        pads_.push_back(std::move(*pad));
    }
    return {};
}

std::string Gamepads::nodes() const {
    std::string all;
    for (const auto& pad : pads_) {
        all += (all.empty() ? "" : ":") + pad->node();
    }
    return all;
}

Gamepads::Hand* Gamepads::hand_of(wl_resource* resource) {
    return static_cast<Hand*>(wl_resource_get_user_data(resource));
}

void Gamepads::create_resource(wl_client* client, uint32_t version, uint32_t id, uint32_t number) {
    wl_resource* resource =
        wl_resource_create(client, &stepscope_gamepad_v1_interface, static_cast<int>(version), id);
    if (resource == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    auto hand = std::make_unique<Hand>(*pads_[number]);
    wl_resource_set_implementation(resource, &kRequests, hand.release(), [](wl_resource* gone) {
        std::unique_ptr<Hand>(hand_of(gone)).reset();
    });
}

void Gamepads::handle_button(wl_client* /*client*/, wl_resource* resource, uint32_t button,
                             uint32_t state) {
    Hand* hand = hand_of(resource);
    if (state > 1 || !hand->pad.press(button, state == 1)) {
        wl_resource_post_error(resource, STEPSCOPE_GAMEPAD_V1_ERROR_INVALID_BUTTON,
                               "button %u in state %u; expected a button of 0 to %d in state 0 "
                               "or 1",
                               button, state, STEPSCOPE_GAMEPAD_V1_BUTTON_DPAD_RIGHT);
    } else if (state == 1) {
        hand->buttons.insert(button);
    } else {
        hand->buttons.erase(button);
    }
}

void Gamepads::handle_axis(wl_client* /*client*/, wl_resource* resource, uint32_t axis,
                           int32_t value) {
    Hand* hand = hand_of(resource);
    if (!hand->pad.move(axis, value)) {
        wl_resource_post_error(resource, STEPSCOPE_GAMEPAD_V1_ERROR_INVALID_AXIS,
                               "axis %u at %d; expected a stick's axis of 0 to 3 within %d to %d, "
                               "or a trigger of 4 to 5 within 0 to %d",
                               axis, value, kStickMin, kStickMax, kStickMax);
    } else if (value != 0) {
        hand->axes.insert(axis);
    } else {
        hand->axes.erase(axis);
    }
}

void Gamepads::handle_frame(wl_client* /*client*/, wl_resource* resource) {
    hand_of(resource)->pad.report();
}

}  // namespace stepscope
