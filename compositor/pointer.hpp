// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "listener.hpp"
#include "session_clock.hpp"

namespace stepscope {

/**
 * The seat's pointer: its position, its picture, who gets its events, and the games that lock it to
 * look around with relative motion.
 */
class Pointer {
public:
    /** `clicked` is told of each surface that a button went down on. */
    Pointer(wl_display* display, wlr_scene* scene, wlr_output_layout* layout, wlr_seat* seat,
            const SessionClock& clock, std::function<void(wlr_surface*)> clicked);
    ~Pointer();

    void add_virtual(wlr_virtual_pointer_v1* pointer);
    /** The windows moved under it. */
    void handle_contents_moved();
    /** The keyboard focus moved: constraints follow it. */
    void handle_focus(wlr_surface* surface);

private:
    class Device;

    void move(wlr_pointer* device, uint32_t time_ms, double dx, double dy);
    void send_position(uint32_t time_ms);
    void set_constraint(wlr_pointer_constraint_v1* constraint);
    void handle_button(const wlr_pointer_button_event& event);
    void handle_cursor_shape(const wlr_cursor_shape_manager_v1_request_set_shape_event& event);
    wlr_surface* surface_at(double lx, double ly, double* sx, double* sy) const;

    wlr_scene* scene_;
    wlr_seat* seat_;
    const SessionClock& clock_;
    std::function<void(wlr_surface*)> clicked_;
    Handle<wlr_cursor, wlr_cursor_destroy> cursor_;
    Handle<wlr_xcursor_manager, wlr_xcursor_manager_destroy> theme_;
    wlr_relative_pointer_manager_v1* relative_;
    wlr_pointer_constraints_v1* constraints_;
    wlr_pointer_constraint_v1* active_ = nullptr;
    std::list<std::unique_ptr<Device>> devices_;

    Listener motion_, motion_absolute_, button_, axis_, frame_;
    Listener set_cursor_, set_shape_, new_constraint_, constraint_destroyed_;
    Listener shape_manager_destroyed_, constraints_destroyed_;
};

}  // namespace stepscope
