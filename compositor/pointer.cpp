// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pointer.hpp"

namespace stepscope {
namespace {

constexpr unsigned kCursorSize = 24;
constexpr const char* kDefaultShape = "default";

}  // namespace

/** A virtual pointer, with the place where it was last: locked games want the difference. */
class Pointer::Device {
public:
    Device(Pointer& owner, wlr_pointer* pointer) : pointer_(pointer) {
        destroy_.connect(pointer_->base.events.destroy, [this, &owner](void*) {
            owner.devices_.remove_if([this](const auto& other) { return other.get() == this; });
        });
    }
    bool is(const wlr_pointer* pointer) const { return pointer_ == pointer; }

    struct Place {
        double lx, ly;
    };
    std::optional<Place> last;

private:
    wlr_pointer* pointer_;
    Listener destroy_;
};

Pointer::Pointer(wl_display* display, wlr_scene* scene, wlr_output_layout* layout, wlr_seat* seat,
                 const SessionClock& clock, std::function<void(wlr_surface*)> clicked)
    : scene_(scene),
      seat_(seat),
      clock_(clock),
      clicked_(std::move(clicked)),
      cursor_(wlr_cursor_create()),
      theme_(wlr_xcursor_manager_create(nullptr, kCursorSize)),
      relative_(wlr_relative_pointer_manager_v1_create(display)),
      constraints_(wlr_pointer_constraints_v1_create(display)) {
    wlr_cursor_attach_output_layout(cursor_.get(), layout);
    motion_.connect(cursor_->events.motion, [this](void* data) {
        auto* event = static_cast<wlr_pointer_motion_event*>(data);
        move(event->pointer, clock_.input_ms(event->time_msec), event->delta_x, event->delta_y);
    });
    motion_absolute_.connect(cursor_->events.motion_absolute, [this](void* data) {
        auto* event = static_cast<wlr_pointer_motion_absolute_event*>(data);
        double lx = 0;
        double ly = 0;
        wlr_cursor_absolute_to_layout_coords(cursor_.get(), &event->pointer->base, event->x,
                                             event->y, &lx, &ly);
        double from_x = cursor_->x;
        double from_y = cursor_->y;
        for (auto& device : devices_) {
            if (device->is(event->pointer)) {
                if (device->last && active_ != nullptr) {
                    from_x = device->last->lx;
                    from_y = device->last->ly;
                }
                device->last = Device::Place{lx, ly};
            }
        }
        move(event->pointer, clock_.input_ms(event->time_msec), lx - from_x, ly - from_y);
    });
    button_.connect(cursor_->events.button, [this](void* data) {
        handle_button(*static_cast<wlr_pointer_button_event*>(data));
    });
    axis_.connect(cursor_->events.axis, [this](void* data) {
        auto* event = static_cast<wlr_pointer_axis_event*>(data);
        wlr_seat_pointer_notify_axis(seat_, clock_.input_ms(event->time_msec), event->orientation,
                                     event->delta, event->delta_discrete, event->source,
                                     event->relative_direction);
    });
    frame_.connect(cursor_->events.frame, [this](void*) { wlr_seat_pointer_notify_frame(seat_); });

    set_cursor_.connect(seat_->events.request_set_cursor, [this](void* data) {
        auto* event = static_cast<wlr_seat_pointer_request_set_cursor_event*>(data);
        if (event->seat_client == seat_->pointer_state.focused_client) {
            wlr_cursor_set_surface(cursor_.get(), event->surface, event->hotspot_x,
                                   event->hotspot_y);
        }
    });
    wlr_cursor_shape_manager_v1* shapes = wlr_cursor_shape_manager_v1_create(display, 2);
    set_shape_.connect(shapes->events.request_set_shape, [this](void* data) {
        handle_cursor_shape(
            *static_cast<wlr_cursor_shape_manager_v1_request_set_shape_event*>(data));
    });
    shape_manager_destroyed_.connect(shapes->events.destroy, [this](void*) {
        set_shape_.disconnect();
        shape_manager_destroyed_.disconnect();
    });
    new_constraint_.connect(constraints_->events.new_constraint, [this](void* data) {
        auto* constraint = static_cast<wlr_pointer_constraint_v1*>(data);
        if (constraint->surface == seat_->keyboard_state.focused_surface ||
            constraint->surface == seat_->pointer_state.focused_surface) {
            set_constraint(constraint);
        }
    });
    constraints_destroyed_.connect(constraints_->events.destroy, [this](void*) {
        new_constraint_.disconnect();
        constraints_destroyed_.disconnect();
        constraints_ = nullptr;
    });
}

Pointer::~Pointer() = default;

void Pointer::add_virtual(wlr_virtual_pointer_v1* pointer) {
    devices_.push_back(std::make_unique<Device>(*this, &pointer->pointer));
    wlr_cursor_attach_input_device(cursor_.get(), &pointer->pointer.base);
}

wlr_surface* Pointer::surface_at(double lx, double ly, double* sx, double* sy) const {
    wlr_scene_node* node = wlr_scene_node_at(&scene_->tree.node, lx, ly, sx, sy);
    if (node == nullptr || node->type != WLR_SCENE_NODE_BUFFER) {
        return nullptr;
    }
    wlr_scene_surface* surface =
        wlr_scene_surface_try_from_buffer(wlr_scene_buffer_from_node(node));
    return surface != nullptr ? surface->surface : nullptr;
}

void Pointer::move(wlr_pointer* device, uint32_t time_ms, double dx, double dy) {
    wlr_relative_pointer_manager_v1_send_relative_motion(relative_, seat_, uint64_t{time_ms} * 1000,
                                                         dx, dy, dx, dy);
    if (active_ != nullptr) {
        if (active_->type == WLR_POINTER_CONSTRAINT_V1_LOCKED) {
            return;
        }
        double sx = 0;
        double sy = 0;
        // Confined: a step that would leave the surface or its region does not happen.
        if (surface_at(cursor_->x + dx, cursor_->y + dy, &sx, &sy) != active_->surface ||
            (pixman_region32_not_empty(&active_->region) &&
             !pixman_region32_contains_point(&active_->region, static_cast<int>(std::floor(sx)),
                                             static_cast<int>(std::floor(sy)), nullptr))) {
            return;
        }
    }
    wlr_cursor_move(cursor_.get(), &device->base, dx, dy);
    send_position(time_ms);
}

void Pointer::send_position(uint32_t time_ms) {
    double sx = 0;
    double sy = 0;
    wlr_surface* surface = surface_at(cursor_->x, cursor_->y, &sx, &sy);
    if (surface == nullptr) {
        wlr_cursor_set_xcursor(cursor_.get(), theme_.get(), kDefaultShape);
        wlr_seat_pointer_notify_clear_focus(seat_);
        return;
    }
    wlr_seat_pointer_notify_enter(seat_, surface, sx, sy);
    wlr_seat_pointer_notify_motion(seat_, time_ms, sx, sy);
}

void Pointer::handle_contents_moved() {
    if (active_ == nullptr || active_->type != WLR_POINTER_CONSTRAINT_V1_LOCKED) {
        send_position(static_cast<uint32_t>(clock_.now_ns() / 1'000'000));
        wlr_seat_pointer_notify_frame(seat_);
    }
}

void Pointer::handle_button(const wlr_pointer_button_event& event) {
    wlr_seat_pointer_notify_button(seat_, clock_.input_ms(event.time_msec), event.button,
                                   event.state);
    if (event.state == WL_POINTER_BUTTON_STATE_PRESSED &&
        seat_->pointer_state.focused_surface != nullptr) {
        clicked_(seat_->pointer_state.focused_surface);
    }
}

void Pointer::handle_cursor_shape(
    const wlr_cursor_shape_manager_v1_request_set_shape_event& event) {
    if (event.device_type == WLR_CURSOR_SHAPE_MANAGER_V1_DEVICE_TYPE_POINTER &&
        event.seat_client == seat_->pointer_state.focused_client) {
        wlr_cursor_set_xcursor(cursor_.get(), theme_.get(), wlr_cursor_shape_v1_name(event.shape));
    }
}

void Pointer::handle_focus(wlr_surface* surface) {
    set_constraint(
        surface != nullptr && constraints_ != nullptr
            ? wlr_pointer_constraints_v1_constraint_for_surface(constraints_, surface, seat_)
            : nullptr);
}

void Pointer::set_constraint(wlr_pointer_constraint_v1* constraint) {
    if (active_ == constraint) {
        return;
    }
    constraint_destroyed_.disconnect();
    if (wlr_pointer_constraint_v1* previous = std::exchange(active_, constraint)) {
        wlr_pointer_constraint_v1_send_deactivated(previous);
    }
    if (active_ == nullptr) {
        return;
    }
    constraint_destroyed_.connect(active_->events.destroy, [this](void* data) {
        auto* gone = static_cast<wlr_pointer_constraint_v1*>(data);
        constraint_destroyed_.disconnect();
        if (gone == active_) {
            active_ = nullptr;
            // Where the game says that its own cursor was.
            const auto& hint = gone->current.cursor_hint;
            double sx = 0;
            double sy = 0;
            if (hint.enabled && surface_at(cursor_->x, cursor_->y, &sx, &sy) == gone->surface) {
                wlr_cursor_warp(cursor_.get(), nullptr, cursor_->x - sx + hint.x,
                                cursor_->y - sy + hint.y);
            }
        }
    });
    // A game may lock the pointer before it was ever over its window. Motion goes to the surface
    // that the pointer is on.
    if (seat_->pointer_state.focused_surface != active_->surface) {
        double sx = 0;
        double sy = 0;
        if (surface_at(cursor_->x, cursor_->y, &sx, &sy) != active_->surface) {
            sx = active_->surface->current.width / 2.0;
            sy = active_->surface->current.height / 2.0;
        }
        wlr_seat_pointer_notify_enter(seat_, active_->surface, sx, sy);
        wlr_seat_pointer_notify_frame(seat_);
    }
    wlr_pointer_constraint_v1_send_activated(active_);
}

}  // namespace stepscope
