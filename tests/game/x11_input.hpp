// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <xcb/xcb.h>
#include <xcb/xcb_keysyms.h>

#include <array>
#include <memory>

#include "game.hpp"
#include "x11_window.hpp"

namespace stepscope::testgame {

/** Reports what keyboard and pointer send to the game, shows its cursor, locks the pointer. */
class X11Input {
public:
    /** All three must outlive it. */
    X11Input(const X11Display& display, Game& game, const X11Window& window);
    X11Input(const X11Input&) = delete;
    X11Input& operator=(const X11Input&) = delete;

    /** False if the event is none of its kind. */
    bool handle(const xcb_generic_event_t& event);

private:
    struct SymbolsDeleter {
        void operator()(xcb_key_symbols_t* symbols) const { xcb_key_symbols_free(symbols); }
    };

    void set_cursor();
    void try_lock_pointer();
    void handle_key(const xcb_key_press_event_t& event, bool pressed);
    void handle_button(const xcb_button_press_event_t& event, bool pressed);
    void handle_motion(const xcb_motion_notify_event_t& event);
    bool handle_raw_motion(const xcb_generic_event_t& event);

    const X11Display& display_;
    Game& game_;
    const X11Window& window_;
    std::unique_ptr<xcb_key_symbols_t, SymbolsDeleter> symbols_;
    bool locked_ = false;
    xcb_timestamp_t last_raw_time_ = 0;
    std::array<double, 2> last_raw_{};
};

/** Owns the CLIPBOARD selection with --set-clipboard, reads it with --get-clipboard. */
class X11Clipboard {
public:
    X11Clipboard(const X11Display& display, Game& game, const X11Window& window);
    X11Clipboard(const X11Clipboard&) = delete;
    X11Clipboard& operator=(const X11Clipboard&) = delete;

    bool handle(const xcb_generic_event_t& event);
    /** Asks the owner for the text. */
    void offer();
    void request();

private:
    void answer(const xcb_selection_request_event_t& request);
    void receive(const xcb_selection_notify_event_t& notify);

    const X11Display& display_;
    Game& game_;
    const X11Window& window_;
    xcb_atom_t clipboard_;
    xcb_atom_t text_type_;
    xcb_atom_t targets_;
};

}  // namespace stepscope::testgame
