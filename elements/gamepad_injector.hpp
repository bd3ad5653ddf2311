// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <memory>

#include "control_client.hpp"
#include "input_action.hpp"

struct stepscope_gamepad_v1;

namespace stepscope {

/**
 * Hands on the gamepads of a session. Requests go out with the next flush. The session lets go what
 * is down when this is destroyed. One thread at a time.
 */
class GamepadInjector {
public:
    explicit GamepadInjector(std::shared_ptr<ControlClient> control);
    ~GamepadInjector();
    GamepadInjector(const GamepadInjector&) = delete;
    GamepadInjector& operator=(const GamepadInjector&) = delete;

    /** An error where the session has no such gamepad, button or axis. */
    Result<void> check(const GamepadButtonAction& action) const;
    Result<void> check(const GamepadAxisAction& action) const;

    /** What check() found good. */
    void apply(const GamepadButtonAction& action);
    void apply(const GamepadAxisAction& action);

private:
    Result<void> check_number(unsigned gamepad) const;
    stepscope_gamepad_v1* pad(unsigned gamepad);

    const std::shared_ptr<ControlClient> control_;
    std::map<unsigned, stepscope_gamepad_v1*> pads_;
};

}  // namespace stepscope
