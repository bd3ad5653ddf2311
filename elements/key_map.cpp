// SPDX-License-Identifier: LGPL-2.1-or-later
#include "key_map.hpp"

#include <glib.h>

#include <array>
#include <cstdlib>
#include <format>

namespace stepscope {
namespace {

/** XKB counts keys from 8 on, evdev from 0. */
constexpr xkb_keycode_t kEvdevOffset = 8;

/** A keysym's name, or a single character as some sinks send it. */
xkb_keysym_t keysym_of(std::string_view name) {
    const std::string text(name);
    xkb_keysym_t keysym = xkb_keysym_from_name(text.c_str(), XKB_KEYSYM_NO_FLAGS);
    if (keysym == XKB_KEY_NoSymbol && g_utf8_validate(text.c_str(), -1, nullptr) &&
        g_utf8_strlen(text.c_str(), -1) == 1) {
        keysym = xkb_utf32_to_keysym(g_utf8_get_char(text.c_str()));
    }
    return keysym;
}

}  // namespace

Result<std::unique_ptr<KeyMap>> KeyMap::create() {
    auto bad = [] {
        return fail(Fault::unsupported,
                    "there is no usable keyboard layout; install xkeyboard-config, and check the "
                    "XKB_DEFAULT_* variables");
    };
    std::unique_ptr<KeyMap> map(new KeyMap);
    map->context_.reset(xkb_context_new(XKB_CONTEXT_NO_FLAGS));
    if (!map->context_) {
        return bad();
    }
    map->keymap_.reset(
        xkb_keymap_new_from_names(map->context_.get(), nullptr, XKB_KEYMAP_COMPILE_NO_FLAGS));
    if (!map->keymap_) {
        return bad();
    }
    map->state_.reset(xkb_state_new(map->keymap_.get()));
    char* text = xkb_keymap_get_as_string(map->keymap_.get(), XKB_KEYMAP_FORMAT_TEXT_V1);
    if (!map->state_ || text == nullptr) {
        std::free(text);
        return bad();
    }
    map->text_ = text;
    std::free(text);
    map->index_keys();
    return map;
}

void KeyMap::index_keys() {
    // Unshifted levels of all keys first, so that a plain key wins over a shifted one.
    const xkb_keycode_t last = xkb_keymap_max_keycode(keymap_.get());
    constexpr xkb_level_index_t kLevels = 4;
    for (xkb_level_index_t level = 0; level < kLevels; ++level) {
        for (xkb_keycode_t code = xkb_keymap_min_keycode(keymap_.get()); code <= last; ++code) {
            if (code < kEvdevOffset ||
                level >= xkb_keymap_num_levels_for_key(keymap_.get(), code, 0)) {
                continue;
            }
            const xkb_keysym_t* keysyms = nullptr;
            if (xkb_keymap_key_get_syms_by_level(keymap_.get(), code, 0, level, &keysyms) != 1) {
                continue;
            }
            Position position{code, 0};
            if (level > 0) {
                std::array<xkb_mod_mask_t, 8> masks{};
                if (xkb_keymap_key_get_mods_for_level(keymap_.get(), code, 0, level, masks.data(),
                                                      masks.size()) == 0) {
                    continue;
                }
                position.modifiers = masks[0];
            }
            positions_.try_emplace(keysyms[0], position);
        }
    }
}

Result<KeyMap::Position> KeyMap::find(std::string_view keysym) const {
    auto found = positions_.find(keysym_of(keysym));
    if (found == positions_.end()) {
        return fail(Fault::usage, std::format("no key of the layout produces '{}'", keysym));
    }
    return found->second;
}

KeyModifiers KeyMap::modifiers() const {
    KeyModifiers now;
    now.depressed = xkb_state_serialize_mods(state_.get(), XKB_STATE_MODS_DEPRESSED);
    now.latched = xkb_state_serialize_mods(state_.get(), XKB_STATE_MODS_LATCHED);
    now.locked = xkb_state_serialize_mods(state_.get(), XKB_STATE_MODS_LOCKED);
    now.group = xkb_state_serialize_layout(state_.get(), XKB_STATE_LAYOUT_EFFECTIVE);
    for (const auto& [code, lent] : pressed_) {
        now.depressed |= lent;
    }
    return now;
}

Result<void> KeyMap::check(std::string_view keysym) const {
    if (auto found = find(keysym); !found) {
        return std::unexpected(found.error());
    }
    return {};
}

Result<std::optional<KeyStroke>> KeyMap::press(std::string_view keysym) {
    auto position = find(keysym);
    if (!position) {
        return std::unexpected(position.error());
    }
    if (pressed_.contains(position->code)) {
        return std::nullopt;
    }
    const xkb_mod_mask_t effective =
        xkb_state_serialize_mods(state_.get(), XKB_STATE_MODS_EFFECTIVE);
    pressed_[position->code] = position->modifiers & ~effective;
    KeyStroke stroke{position->code - kEvdevOffset, modifiers(), {}};
    xkb_state_update_key(state_.get(), position->code, XKB_KEY_DOWN);
    stroke.after = modifiers();
    return stroke;
}

Result<std::optional<KeyStroke>> KeyMap::release(std::string_view keysym) {
    auto position = find(keysym);
    if (!position) {
        return std::unexpected(position.error());
    }
    if (!pressed_.contains(position->code)) {
        return std::nullopt;
    }
    return let_go(position->code);
}

std::optional<KeyStroke> KeyMap::release_any() {
    if (pressed_.empty()) {
        return std::nullopt;
    }
    return let_go(pressed_.begin()->first);
}

KeyStroke KeyMap::let_go(xkb_keycode_t code) {
    KeyStroke stroke{code - kEvdevOffset, modifiers(), {}};
    xkb_state_update_key(state_.get(), code, XKB_KEY_UP);
    pressed_.erase(code);
    stroke.after = modifiers();
    return stroke;
}

}  // namespace stepscope
