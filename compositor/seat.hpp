// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>

#include "keyboard.hpp"
#include "pointer.hpp"

namespace stepscope {

/** The one seat of a session: keyboards, pointer, clipboard, and the virtual devices on it. */
class Seat {
public:
    Seat(wl_display* display, wlr_scene* scene, wlr_output_layout* layout,
         const SessionClock& clock, std::function<void(wlr_surface*)> clicked);
    ~Seat();

    wlr_seat* seat() const { return seat_; }
    void focus(wlr_surface* surface);
    void handle_contents_moved() { pointer_->handle_contents_moved(); }

    /** Globals that only the control display may see. */
    wl_global* virtual_keyboard_global() const { return virtual_keyboards_->global; }
    wl_global* virtual_pointer_global() const { return virtual_pointers_->global; }

private:
    wlr_seat* seat_;
    std::unique_ptr<Keyboards> keyboards_;
    std::unique_ptr<Pointer> pointer_;
    wlr_virtual_keyboard_manager_v1* virtual_keyboards_;
    wlr_virtual_pointer_manager_v1* virtual_pointers_;
    Listener new_keyboard_, new_pointer_;
    Listener set_selection_, set_primary_selection_, request_drag_;
    Listener keyboards_destroyed_, pointers_destroyed_;
};

}  // namespace stepscope
