// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <utility>

#include "lock_step.hpp"
#include "stepscope-control-v1-server-protocol.h"

namespace stepscope {

/** The protocol's side of lock-step: one client's stepscope_stepper_v1. */
class Stepper {
public:
    /** `left` is called when the client that had it has gone. */
    Stepper(LockStep& lock_step, std::function<void()> left)
        : lock_step_(lock_step), left_(std::move(left)) {}
    Stepper(const Stepper&) = delete;
    Stepper& operator=(const Stepper&) = delete;
    ~Stepper();

    bool taken() const { return resource_ != nullptr; }
    /** Gives the stepper to a client; it must not be taken. */
    void create(wl_client* client, uint32_t version, uint32_t id);

private:
    static Stepper* self_of(wl_resource* resource);
    static void handle_step(wl_client* client, wl_resource* resource, uint32_t sequence,
                            uint32_t length_hi, uint32_t length_lo, uint32_t timeout_ms);
    void send_gate();
    static const struct stepscope_stepper_v1_interface kRequests;

    LockStep& lock_step_;
    std::function<void()> left_;
    wl_resource* resource_ = nullptr;
    Gate gate_ = Gate::none;  // as the client knows it
    uint32_t apis_ = 0;
};

}  // namespace stepscope
