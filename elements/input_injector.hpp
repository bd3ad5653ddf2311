// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <set>
#include <string_view>

#include "control_client.hpp"
#include "gamepad_injector.hpp"
#include "input_action.hpp"
#include "key_map.hpp"

struct zwp_virtual_keyboard_v1;
struct zwlr_virtual_pointer_v1;

namespace stepscope {

/**
 * A virtual keyboard and pointer of a session, which the session sees with the first input, and its
 * gamepads.
 * Requests go out with the next flush. Keys and buttons that are down are let go when it is
 * destroyed, so that none gets stuck in the game. One thread at a time.
 */
class InputInjector {
public:
    static Result<std::unique_ptr<InputInjector>> create(std::shared_ptr<ControlClient> control);
    ~InputInjector();
    InputInjector(const InputInjector&) = delete;
    InputInjector& operator=(const InputInjector&) = delete;

    /** An error where apply() would fail because of what the action asks for. */
    Result<void> check(const InputAction& action) const;

    /** Positions are in a picture of the given size; what lies outside goes to its edge. */
    Result<void> apply(const InputAction& action, uint32_t width, uint32_t height);

private:
    explicit InputInjector(std::shared_ptr<ControlClient> control);
    Result<void> open();
    Result<void> key(std::string_view keysym, bool down);
    void move(double x, double y, uint32_t width, uint32_t height);
    void move_by(double dx, double dy);
    Result<void> button(int number, bool down);
    void scroll(double right, double up);
    Result<void> send_keymap();
    void send_key(const KeyStroke& stroke, bool down);
    void send_modifiers(const KeyModifiers& modifiers);
    void send_axis(uint32_t axis, double clicks);

    const std::shared_ptr<ControlClient> control_;
    GamepadInjector gamepads_;
    std::unique_ptr<KeyMap> keys_;
    zwp_virtual_keyboard_v1* keyboard_ = nullptr;
    zwlr_virtual_pointer_v1* pointer_ = nullptr;
    KeyModifiers modifiers_;
    std::set<uint32_t> buttons_;  // down
};

}  // namespace stepscope
