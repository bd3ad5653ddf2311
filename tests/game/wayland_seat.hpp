// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <xkbcommon/xkbcommon.h>

#include <memory>

#include "game.hpp"
#include "wayland_clipboard.hpp"
#include "wayland_window.hpp"
#include "wl_ptr.hpp"

namespace stepscope::testgame {

/** Reports what keyboard and pointer send to the game, shows its cursor, locks the pointer. */
class WaylandSeat {
public:
    /** All four must outlive it. `clipboard` gets the serials that it needs. */
    WaylandSeat(const WaylandGlobals& globals, Game& game, const WaylandWindow& window,
                WaylandClipboard& clipboard);
    WaylandSeat(const WaylandSeat&) = delete;
    WaylandSeat& operator=(const WaylandSeat&) = delete;

private:
    struct XkbDeleter {
        void operator()(xkb_context* object) const { xkb_context_unref(object); }
        void operator()(xkb_keymap* object) const { xkb_keymap_unref(object); }
        void operator()(xkb_state* object) const { xkb_state_unref(object); }
    };

    void take_keyboard();
    void take_pointer();
    void lock_pointer();
    Result<void> make_cursor();
    void show_cursor(uint32_t serial);
    void handle_keymap(uint32_t format, UniqueFd fd, uint32_t size);
    void handle_key(uint32_t code, uint32_t state);

    static const wl_seat_listener kSeatListener;
    static const wl_keyboard_listener kKeyboardListener;
    static const wl_pointer_listener kPointerListener;
    static const zwp_relative_pointer_v1_listener kRelativeListener;
    static const zwp_locked_pointer_v1_listener kLockListener;

    const WaylandGlobals& globals_;
    Game& game_;
    const WaylandWindow& window_;
    WaylandClipboard& clipboard_;

    WlPtr<wl_keyboard> keyboard_;
    std::unique_ptr<xkb_context, XkbDeleter> xkb_;
    std::unique_ptr<xkb_keymap, XkbDeleter> keymap_;
    std::unique_ptr<xkb_state, XkbDeleter> keyboard_state_;

    WlPtr<wl_pointer> pointer_;
    WlPtr<zwp_relative_pointer_v1> relative_pointer_;
    WlPtr<zwp_locked_pointer_v1> lock_;
    WlPtr<wl_surface> cursor_surface_;
    std::unique_ptr<WaylandBuffer> cursor_;
};

}  // namespace stepscope::testgame
