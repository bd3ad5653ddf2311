// SPDX-License-Identifier: LGPL-2.1-or-later
#include "wayland_seat.hpp"

#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "painter.hpp"

namespace stepscope::testgame {

const wl_seat_listener WaylandSeat::kSeatListener = {
    .capabilities =
        [](void* data, wl_seat*, uint32_t capabilities) {
            auto& self = *static_cast<WaylandSeat*>(data);
            if ((capabilities & WL_SEAT_CAPABILITY_KEYBOARD) != 0 && !self.keyboard_) {
                self.take_keyboard();
            }
            if ((capabilities & WL_SEAT_CAPABILITY_POINTER) != 0 && !self.pointer_) {
                self.take_pointer();
            }
        },
    .name = [](void*, wl_seat*, const char*) {},
};

const wl_keyboard_listener WaylandSeat::kKeyboardListener = {
    .keymap =
        [](void* data, wl_keyboard*, uint32_t format, int32_t fd, uint32_t size) {
            static_cast<WaylandSeat*>(data)->handle_keymap(format, UniqueFd(fd), size);
        },
    .enter =
        [](void* data, wl_keyboard*, uint32_t serial, wl_surface* surface, wl_array*) {
            auto& self = *static_cast<WaylandSeat*>(data);
            self.game_.input("focus",
                             {{"focused", true}, {"main", surface == self.window_.surface()}});
            self.clipboard_.offer(serial);
        },
    .leave =
        [](void* data, wl_keyboard*, uint32_t, wl_surface* surface) {
            auto& self = *static_cast<WaylandSeat*>(data);
            self.game_.input("focus",
                             {{"focused", false}, {"main", surface == self.window_.surface()}});
        },
    .key =
        [](void* data, wl_keyboard*, uint32_t serial, uint32_t, uint32_t code, uint32_t state) {
            auto& self = *static_cast<WaylandSeat*>(data);
            self.handle_key(code, state);
            self.clipboard_.offer(serial);
        },
    .modifiers =
        [](void* data, wl_keyboard*, uint32_t, uint32_t depressed, uint32_t latched,
           uint32_t locked, uint32_t group) {
            auto& self = *static_cast<WaylandSeat*>(data);
            if (self.keyboard_state_) {
                xkb_state_update_mask(self.keyboard_state_.get(), depressed, latched, locked, 0, 0,
                                      group);
            }
        },
    .repeat_info = [](void*, wl_keyboard*, int32_t, int32_t) {},
};

const wl_pointer_listener WaylandSeat::kPointerListener = {
    .enter =
        [](void* data, wl_pointer*, uint32_t serial, wl_surface* surface, wl_fixed_t x,
           wl_fixed_t y) {
            auto& self = *static_cast<WaylandSeat*>(data);
            self.game_.input("pointer_focus", {{"focused", true},
                                               {"main", surface == self.window_.surface()},
                                               {"x", wl_fixed_to_double(x)},
                                               {"y", wl_fixed_to_double(y)}});
            self.show_cursor(serial);
        },
    .leave =
        [](void* data, wl_pointer*, uint32_t, wl_surface*) {
            static_cast<WaylandSeat*>(data)->game_.input("pointer_focus", {{"focused", false}});
        },
    .motion =
        [](void* data, wl_pointer*, uint32_t, wl_fixed_t x, wl_fixed_t y) {
            static_cast<WaylandSeat*>(data)->game_.input(
                "motion", {{"x", wl_fixed_to_double(x)}, {"y", wl_fixed_to_double(y)}});
        },
    .button =
        [](void* data, wl_pointer*, uint32_t serial, uint32_t, uint32_t button, uint32_t state) {
            auto& self = *static_cast<WaylandSeat*>(data);
            self.game_.input("button", {{"button", button}, {"pressed", state != 0}});
            self.clipboard_.offer(serial);
        },
    .axis =
        [](void* data, wl_pointer*, uint32_t, uint32_t axis, wl_fixed_t value) {
            static_cast<WaylandSeat*>(data)->game_.input(
                "axis",
                {{"axis", axis == WL_POINTER_AXIS_VERTICAL_SCROLL ? "vertical" : "horizontal"},
                 {"value", wl_fixed_to_double(value)}});
        },
    .frame = [](void*, wl_pointer*) {},
    .axis_source = [](void*, wl_pointer*, uint32_t) {},
    .axis_stop = [](void*, wl_pointer*, uint32_t, uint32_t) {},
    .axis_discrete = [](void*, wl_pointer*, uint32_t, int32_t) {},
    .axis_value120 =
        [](void* data, wl_pointer*, uint32_t axis, int32_t value) {
            static_cast<WaylandSeat*>(data)->game_.report().write(
                "axis_value120",
                {{"axis", axis == WL_POINTER_AXIS_VERTICAL_SCROLL ? "vertical" : "horizontal"},
                 {"value120", value}});
        },
};

const zwp_relative_pointer_v1_listener WaylandSeat::kRelativeListener = {
    .relative_motion =
        [](void* data, zwp_relative_pointer_v1*, uint32_t, uint32_t, wl_fixed_t dx, wl_fixed_t dy,
           wl_fixed_t raw_dx, wl_fixed_t raw_dy) {
            static_cast<WaylandSeat*>(data)->game_.input("relative_motion",
                                                         {{"dx", wl_fixed_to_double(dx)},
                                                          {"dy", wl_fixed_to_double(dy)},
                                                          {"raw_dx", wl_fixed_to_double(raw_dx)},
                                                          {"raw_dy", wl_fixed_to_double(raw_dy)}});
        },
};

const zwp_locked_pointer_v1_listener WaylandSeat::kLockListener = {
    .locked =
        [](void* data, zwp_locked_pointer_v1*) {
            static_cast<WaylandSeat*>(data)->game_.report().write("pointer_locked");
        },
    .unlocked =
        [](void* data, zwp_locked_pointer_v1*) {
            static_cast<WaylandSeat*>(data)->game_.report().write("pointer_unlocked");
        },
};

WaylandSeat::WaylandSeat(const WaylandGlobals& globals, Game& game, const WaylandWindow& window,
                         WaylandClipboard& clipboard)
    : globals_(globals),
      game_(game),
      window_(window),
      clipboard_(clipboard),
      xkb_(xkb_context_new(XKB_CONTEXT_NO_FLAGS)) {
    wl_seat_add_listener(globals.seat.get(), &kSeatListener, this);
}

void WaylandSeat::take_keyboard() {
    keyboard_.reset(wl_seat_get_keyboard(globals_.seat.get()));
    wl_keyboard_add_listener(keyboard_.get(), &kKeyboardListener, this);
}

void WaylandSeat::take_pointer() {
    pointer_.reset(wl_seat_get_pointer(globals_.seat.get()));
    wl_pointer_add_listener(pointer_.get(), &kPointerListener, this);
    if (globals_.relative_pointer) {
        relative_pointer_.reset(zwp_relative_pointer_manager_v1_get_relative_pointer(
            globals_.relative_pointer.get(), pointer_.get()));
        zwp_relative_pointer_v1_add_listener(relative_pointer_.get(), &kRelativeListener, this);
    }
    if (game_.options().lock_pointer) {
        lock_pointer();
    }
}

void WaylandSeat::lock_pointer() {
    if (!globals_.pointer_constraints) {
        std::fputs(
            "stepscope-testgame: the compositor has no zwp_pointer_constraints_v1; "
            "--lock-pointer has no effect\n",
            stderr);
        return;
    }
    lock_.reset(zwp_pointer_constraints_v1_lock_pointer(
        globals_.pointer_constraints.get(), window_.surface(), pointer_.get(), nullptr,
        ZWP_POINTER_CONSTRAINTS_V1_LIFETIME_PERSISTENT));
    zwp_locked_pointer_v1_add_listener(lock_.get(), &kLockListener, this);
}

Result<void> WaylandSeat::make_cursor() {
    auto images = create_images(1, kCursorSize, kCursorSize, true, false);
    if (!images) {
        return std::unexpected(images.error());
    }
    cursor_surface_.reset(wl_compositor_create_surface(globals_.compositor.get()));
    cursor_ =
        std::make_unique<WaylandBuffer>(globals_, images->front(), WL_SHM_FORMAT_ARGB8888, nullptr);
    paint_cursor(cursor_->pixels());
    cursor_->attach(cursor_surface_.get());
    wl_surface_damage_buffer(cursor_surface_.get(), 0, 0, kCursorSize, kCursorSize);
    wl_surface_commit(cursor_surface_.get());
    return {};
}

void WaylandSeat::show_cursor(uint32_t serial) {
    if (game_.options().cursor == Cursor::arrow && !cursor_) {
        if (auto made = make_cursor(); !made) {
            std::fprintf(stderr, "stepscope-testgame: %s\n", made.error().message.c_str());
        }
    }
    wl_pointer_set_cursor(pointer_.get(), serial, cursor_surface_.get(), 0, 0);
}

void WaylandSeat::handle_keymap(uint32_t format, UniqueFd fd, uint32_t size) {
    if (format != WL_KEYBOARD_KEYMAP_FORMAT_XKB_V1 || size == 0) {
        return;
    }
    void* text = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (text == MAP_FAILED) {
        return;
    }
    // The size counts the terminating zero.
    keymap_.reset(xkb_keymap_new_from_buffer(xkb_.get(), static_cast<const char*>(text), size - 1,
                                             XKB_KEYMAP_FORMAT_TEXT_V1,
                                             XKB_KEYMAP_COMPILE_NO_FLAGS));
    munmap(text, size);
    keyboard_state_.reset(keymap_ ? xkb_state_new(keymap_.get()) : nullptr);
}

void WaylandSeat::handle_key(uint32_t code, uint32_t state) {
    std::array<char, 64> name{};
    std::array<char, 16> text{};
    if (keyboard_state_) {
        const xkb_keycode_t keycode = code + 8;
        xkb_keysym_get_name(xkb_state_key_get_one_sym(keyboard_state_.get(), keycode), name.data(),
                            name.size());
        xkb_state_key_get_utf8(keyboard_state_.get(), keycode, text.data(), text.size());
    }
    game_.input("key", {{"code", code},
                        {"keysym", name.data()},
                        {"text", text.data()},
                        {"pressed", state != WL_KEYBOARD_KEY_STATE_RELEASED}});
}

}  // namespace stepscope::testgame
