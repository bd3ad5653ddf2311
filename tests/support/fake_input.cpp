// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_input.hpp"

#include <unistd.h>
#include <wayland-server-protocol.h>

#include <format>

#include "stepscope-control-v1-server-protocol.h"
#include "virtual-keyboard-unstable-v1-server-protocol.h"
#include "wlr-virtual-pointer-unstable-v1-server-protocol.h"

namespace stepscope::test {
namespace {

std::vector<std::string>& log_of(wl_resource* resource) {
    return *static_cast<std::vector<std::string>*>(wl_resource_get_user_data(resource));
}

void destroy_resource(wl_client*, wl_resource* resource) {
    wl_resource_destroy(resource);
}

template <typename Interface>
void add(wl_client* client, const wl_interface& type, int version, uint32_t id,
         const Interface& implementation, void* data) {
    wl_resource_set_implementation(wl_resource_create(client, &type, version, id), &implementation,
                                   data, nullptr);
}

constexpr struct zwp_virtual_keyboard_v1_interface kKeyboard{
    [](wl_client*, wl_resource* r, uint32_t format, int32_t fd, uint32_t size) {
        log_of(r).push_back(std::format("keymap {} {}", format, size > 100));
        ::close(fd);
    },
    [](wl_client*, wl_resource* r, uint32_t, uint32_t key, uint32_t state) {
        log_of(r).push_back(std::format("key {} {}", key, state));
    },
    [](wl_client*, wl_resource* r, uint32_t depressed, uint32_t, uint32_t, uint32_t) {
        log_of(r).push_back(std::format("modifiers {}", depressed));
    },
    destroy_resource};

constexpr struct zwlr_virtual_pointer_v1_interface kPointer{
    [](wl_client*, wl_resource* r, uint32_t, wl_fixed_t, wl_fixed_t) {
        log_of(r).emplace_back("motion");
    },
    [](wl_client*, wl_resource* r, uint32_t, uint32_t x, uint32_t y, uint32_t width,
       uint32_t height) {
        log_of(r).push_back(
            std::format("position {:.3f} {:.3f}", double(x) / width, double(y) / height));
    },
    [](wl_client*, wl_resource* r, uint32_t, uint32_t button, uint32_t state) {
        log_of(r).push_back(std::format("button {:#x} {}", button, state));
    },
    [](wl_client*, wl_resource* r, uint32_t, uint32_t axis, wl_fixed_t value) {
        log_of(r).push_back(std::format("axis {} {}", axis, wl_fixed_to_double(value)));
    },
    [](wl_client*, wl_resource* r) { log_of(r).emplace_back("frame"); },
    [](wl_client*, wl_resource*, uint32_t) {},
    [](wl_client*, wl_resource*, uint32_t, uint32_t) {},
    [](wl_client*, wl_resource* r, uint32_t, uint32_t axis, wl_fixed_t value, int32_t clicks) {
        log_of(r).push_back(std::format("wheel {} {} {}", axis, wl_fixed_to_double(value), clicks));
    },
    destroy_resource};

constexpr struct stepscope_gamepad_v1_interface kGamepad{
    [](wl_client*, wl_resource* r) {
        log_of(r).emplace_back("gamepad gone");
        wl_resource_destroy(r);
    },
    [](wl_client*, wl_resource* r, uint32_t button, uint32_t state) {
        log_of(r).push_back(std::format("pad button {} {}", button, state));
    },
    [](wl_client*, wl_resource* r, uint32_t axis, int32_t value) {
        log_of(r).push_back(std::format("pad axis {} {}", axis, value));
    },
    [](wl_client*, wl_resource* r) { log_of(r).emplace_back("pad frame"); }};

constexpr struct zwp_virtual_keyboard_manager_v1_interface kKeyboardManager{
    [](wl_client* client, wl_resource* r, wl_resource*, uint32_t id) {
        add(client, zwp_virtual_keyboard_v1_interface, 1, id, kKeyboard, &log_of(r));
    }};

constexpr struct zwlr_virtual_pointer_manager_v1_interface kPointerManager{
    [](wl_client* client, wl_resource* r, wl_resource*, uint32_t id) {
        add(client, zwlr_virtual_pointer_v1_interface, 1, id, kPointer, &log_of(r));
    },
    destroy_resource,
    [](wl_client* client, wl_resource* r, wl_resource*, wl_resource*, uint32_t id) {
        add(client, zwlr_virtual_pointer_v1_interface, 2, id, kPointer, &log_of(r));
    }};

constexpr struct wl_seat_interface kSeat{nullptr, nullptr, nullptr, destroy_resource};

}  // namespace

void add_fake_gamepad(wl_client* client, uint32_t id, std::vector<std::string>& log) {
    add(client, stepscope_gamepad_v1_interface, 4, id, kGamepad, &log);
}

void add_fake_input(wl_display* display, std::vector<std::string>& log) {
    wl_global_create(display, &wl_seat_interface, 1, &log,
                     [](wl_client* client, void* data, uint32_t version, uint32_t id) {
                         add(client, wl_seat_interface, int(version), id, kSeat, data);
                     });
    wl_global_create(display, &zwp_virtual_keyboard_manager_v1_interface, 1, &log,
                     [](wl_client* client, void* data, uint32_t version, uint32_t id) {
                         add(client, zwp_virtual_keyboard_manager_v1_interface, int(version), id,
                             kKeyboardManager, data);
                     });
    wl_global_create(display, &zwlr_virtual_pointer_manager_v1_interface, 1, &log,
                     [](wl_client* client, void* data, uint32_t version, uint32_t id) {
                         add(client, zwlr_virtual_pointer_manager_v1_interface, int(version), id,
                             kPointerManager, data);
                     });
}

}  // namespace stepscope::test
