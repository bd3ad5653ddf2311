// SPDX-License-Identifier: LGPL-2.1-or-later
#include "seat.hpp"

namespace stepscope {

Seat::Seat(wl_display* display, wlr_scene* scene, wlr_output_layout* layout,
           const SessionClock& clock, std::function<void(wlr_surface*)> clicked)
    : seat_(wlr_seat_create(display, "seat0")),
      virtual_keyboards_(wlr_virtual_keyboard_manager_v1_create(display)),
      virtual_pointers_(wlr_virtual_pointer_manager_v1_create(display)) {
    wlr_data_device_manager_create(display);
    wlr_primary_selection_v1_device_manager_create(display);
    // Both exist at all times: a game that starts without them may never look again.
    wlr_seat_set_capabilities(seat_, WL_SEAT_CAPABILITY_POINTER | WL_SEAT_CAPABILITY_KEYBOARD);
    keyboards_ = std::make_unique<Keyboards>(seat_, clock);
    pointer_ = std::make_unique<Pointer>(display, scene, layout, seat_, clock, std::move(clicked));

    new_keyboard_.connect(virtual_keyboards_->events.new_virtual_keyboard, [this](void* data) {
        keyboards_->add_virtual(static_cast<wlr_virtual_keyboard_v1*>(data));
    });
    new_pointer_.connect(virtual_pointers_->events.new_virtual_pointer, [this](void* data) {
        pointer_->add_virtual(
            static_cast<wlr_virtual_pointer_v1_new_pointer_event*>(data)->new_pointer);
    });
    keyboards_destroyed_.connect(virtual_keyboards_->events.destroy, [this](void*) {
        new_keyboard_.disconnect();
        keyboards_destroyed_.disconnect();
    });
    pointers_destroyed_.connect(virtual_pointers_->events.destroy, [this](void*) {
        new_pointer_.disconnect();
        pointers_destroyed_.disconnect();
    });

    set_selection_.connect(seat_->events.request_set_selection, [this](void* data) {
        auto* event = static_cast<wlr_seat_request_set_selection_event*>(data);
        wlr_seat_set_selection(seat_, event->source, event->serial);
    });
    set_primary_selection_.connect(seat_->events.request_set_primary_selection, [this](void* data) {
        auto* event = static_cast<wlr_seat_request_set_primary_selection_event*>(data);
        wlr_seat_set_primary_selection(seat_, event->source, event->serial);
    });
    request_drag_.connect(seat_->events.request_start_drag, [this](void* data) {
        auto* event = static_cast<wlr_seat_request_start_drag_event*>(data);
        if (wlr_seat_validate_pointer_grab_serial(seat_, event->origin, event->serial)) {
            wlr_seat_start_pointer_drag(seat_, event->drag, event->serial);
        } else {
            wlr_data_source_destroy(event->drag->source);
        }
    });
}

Seat::~Seat() {
    new_keyboard_.disconnect();
    new_pointer_.disconnect();
    keyboards_destroyed_.disconnect();
    pointers_destroyed_.disconnect();
    set_selection_.disconnect();
    set_primary_selection_.disconnect();
    request_drag_.disconnect();
    pointer_.reset();
    keyboards_.reset();
    wlr_seat_destroy(seat_);
}

void Seat::focus(wlr_surface* surface) {
    keyboards_->focus(surface);
    pointer_->handle_focus(surface);
}

}  // namespace stepscope
