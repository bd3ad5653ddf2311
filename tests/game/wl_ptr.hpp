// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-client.h>

#include <memory>

#include "pointer-constraints-unstable-v1-client-protocol.h"
// It has a function that is named like a type of its own.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include "presentation-time-client-protocol.h"
#pragma GCC diagnostic pop
#include "relative-pointer-unstable-v1-client-protocol.h"
#include "xdg-shell-client-protocol.h"

namespace stepscope::testgame {

using PresentationFeedback = struct wp_presentation_feedback;

struct WlDeleter {
    void operator()(wl_display* object) const { wl_display_disconnect(object); }
    void operator()(wl_registry* object) const { wl_registry_destroy(object); }
    void operator()(wl_compositor* object) const { wl_compositor_destroy(object); }
    void operator()(wl_shm* object) const { wl_shm_destroy(object); }
    void operator()(wl_shm_pool* object) const { wl_shm_pool_destroy(object); }
    void operator()(wl_buffer* object) const { wl_buffer_destroy(object); }
    void operator()(wl_surface* object) const { wl_surface_destroy(object); }
    void operator()(wl_callback* object) const { wl_callback_destroy(object); }
    void operator()(wl_seat* object) const { wl_seat_destroy(object); }
    void operator()(wl_keyboard* object) const { wl_keyboard_destroy(object); }
    void operator()(wl_pointer* object) const { wl_pointer_destroy(object); }
    void operator()(wl_data_device_manager* object) const {
        wl_data_device_manager_destroy(object);
    }
    void operator()(wl_data_device* object) const { wl_data_device_destroy(object); }
    void operator()(wl_data_source* object) const { wl_data_source_destroy(object); }
    void operator()(wl_data_offer* object) const { wl_data_offer_destroy(object); }
    void operator()(xdg_wm_base* object) const { xdg_wm_base_destroy(object); }
    void operator()(xdg_surface* object) const { xdg_surface_destroy(object); }
    void operator()(xdg_toplevel* object) const { xdg_toplevel_destroy(object); }
    void operator()(xdg_popup* object) const { xdg_popup_destroy(object); }
    void operator()(xdg_positioner* object) const { xdg_positioner_destroy(object); }
    void operator()(wp_presentation* object) const { wp_presentation_destroy(object); }
    void operator()(PresentationFeedback* object) const {
        wp_presentation_feedback_destroy(object);
    }
    void operator()(zwp_relative_pointer_manager_v1* object) const {
        zwp_relative_pointer_manager_v1_destroy(object);
    }
    void operator()(zwp_relative_pointer_v1* object) const {
        zwp_relative_pointer_v1_destroy(object);
    }
    void operator()(zwp_pointer_constraints_v1* object) const {
        zwp_pointer_constraints_v1_destroy(object);
    }
    void operator()(zwp_locked_pointer_v1* object) const { zwp_locked_pointer_v1_destroy(object); }
};

/** Owns a Wayland proxy. */
template <typename T>
using WlPtr = std::unique_ptr<T, WlDeleter>;

/** What the compositor offers. Those that are optional may be empty. */
struct WaylandGlobals {
    WlPtr<wl_compositor> compositor;
    WlPtr<wl_shm> shm;
    WlPtr<xdg_wm_base> wm_base;
    WlPtr<wl_seat> seat;                                      // optional
    WlPtr<wl_data_device_manager> data_device_manager;        // optional
    WlPtr<wp_presentation> presentation;                      // optional
    WlPtr<zwp_relative_pointer_manager_v1> relative_pointer;  // optional
    WlPtr<zwp_pointer_constraints_v1> pointer_constraints;    // optional
};

}  // namespace stepscope::testgame
