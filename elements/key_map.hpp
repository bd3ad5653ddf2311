// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <xkbcommon/xkbcommon.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace stepscope {

/** The keyboard's modifiers as wl_keyboard sends them. */
struct KeyModifiers {
    uint32_t depressed = 0;
    uint32_t latched = 0;
    uint32_t locked = 0;
    uint32_t group = 0;

    bool operator==(const KeyModifiers&) const = default;
};

/** What to send for a key. */
struct KeyStroke {
    uint32_t key = 0;     // evdev code
    KeyModifiers before;  // in force while the key goes down
    KeyModifiers after;   // in force once it has
};

/**
 * A keyboard of the default layout (XKB_DEFAULT_* variables, else the system's default), driven by
 * names of keysyms. Where a keysym needs a modifier that is not pressed, such as "A" without a
 * Shift key, the modifier is in force while the key is down.
 */
class KeyMap {
public:
    static Result<std::unique_ptr<KeyMap>> create();

    /** The keymap's text, for the compositor. */
    const std::string& text() const { return text_; }

    /** An error for a name that no key produces. */
    Result<void> check(std::string_view keysym) const;
    /** The same error; nothing for a key that is down already. */
    Result<std::optional<KeyStroke>> press(std::string_view keysym);
    /** Nothing for a key that is not down. */
    Result<std::optional<KeyStroke>> release(std::string_view keysym);
    /** Lets some key go that is down. */
    std::optional<KeyStroke> release_any();

private:
    struct Unref {
        void operator()(xkb_context* context) const { xkb_context_unref(context); }
        void operator()(xkb_keymap* keymap) const { xkb_keymap_unref(keymap); }
        void operator()(xkb_state* state) const { xkb_state_unref(state); }
    };
    struct Position {
        xkb_keycode_t code = XKB_KEYCODE_INVALID;
        xkb_mod_mask_t modifiers = 0;
    };

    KeyMap() = default;
    void index_keys();
    Result<Position> find(std::string_view keysym) const;
    KeyModifiers modifiers() const;
    KeyStroke let_go(xkb_keycode_t code);

    std::unique_ptr<xkb_context, Unref> context_;
    std::unique_ptr<xkb_keymap, Unref> keymap_;
    std::unique_ptr<xkb_state, Unref> state_;
    std::string text_;
    std::map<xkb_keysym_t, Position> positions_;
    std::map<xkb_keycode_t, xkb_mod_mask_t> pressed_;  // with the modifiers lent to each
};

}  // namespace stepscope
