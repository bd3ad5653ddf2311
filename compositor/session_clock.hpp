// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/clock_controller.hpp"
#include "pacer.hpp"

namespace stepscope {

/** The time that the game lives in: everything that carries a stamp to it asks here. */
class SessionClock {
public:
    /** From now on the virtual time of a session in lock-step; null: CLOCK_MONOTONIC. Borrowed. */
    void follow(const ClockController* controller) { controller_ = controller; }

    /** CLOCK_MONOTONIC, as the game reads it. */
    int64_t now_ns() const {
        return controller_ != nullptr ? controller_->monotonic_ns() : monotonic_ns();
    }
    /** The same for something that happened at this time of CLOCK_MONOTONIC just now. */
    int64_t time_of(int64_t real_ns) const { return controller_ != nullptr ? now_ns() : real_ns; }
    /** For an input event: a device's own stamp, or the virtual time. */
    uint32_t input_ms(uint32_t device_ms) const {
        return controller_ != nullptr ? static_cast<uint32_t>(now_ns() / 1'000'000) : device_ms;
    }

private:
    const ClockController* controller_ = nullptr;
};

}  // namespace stepscope
