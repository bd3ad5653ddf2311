// SPDX-License-Identifier: LGPL-2.1-or-later
#include "step_client.hpp"

#include <algorithm>
#include <format>
#include <utility>

#include "stepscope-control-v1-client-protocol.h"

namespace stepscope {

struct StepClient::Listeners {
    static void stepped(void* data, stepscope_stepper_v1*, uint32_t sequence, uint32_t status,
                        uint32_t step_hi, uint32_t step_lo, uint32_t now_hi, uint32_t now_lo,
                        const char* message) {
        auto& self = *static_cast<StepClient*>(data);
        const bool known = status >= STEPSCOPE_STEPPER_V1_STATUS_PRESENTED &&
                           status <= STEPSCOPE_STEPPER_V1_STATUS_TIMEOUT;
        if (!self.open_ || self.answer_ || sequence != self.sequence_ || !known) {
            self.control_->fail_with(
                {Fault::protocol,
                 std::format("the compositor of session '{}' (pid {}) answered step {} with status "
                             "{}, while {} was open",
                             self.control_->name(), self.control_->pid(), sequence, status,
                             self.open_ ? std::format("step {}", self.sequence_) : "none"),
                 0});
            return;
        }
        self.answer_ =
            StepAnswer{static_cast<StepStatus>(status), uint64_t{step_hi} << 32 | step_lo,
                       uint64_t{now_hi} << 32 | now_lo, message};
    }

    static void gate(void* data, stepscope_stepper_v1*, uint32_t gate, uint32_t /*apis*/) {
        static_cast<StepClient*>(data)->gate_ =
            static_cast<StepGate>(std::min(gate, uint32_t{STEPSCOPE_STEPPER_V1_GATE_PRESENT}));
    }

    static constexpr stepscope_stepper_v1_listener stepper{stepped, gate};
};

StepClient::StepClient(std::shared_ptr<ControlClient> control, stepscope_stepper_v1* stepper)
    : control_(std::move(control)), stepper_(stepper) {
    stepscope_stepper_v1_add_listener(stepper_, &Listeners::stepper, this);
}

StepClient::~StepClient() {
    stepscope_stepper_v1_destroy(stepper_);
    control_->flush();
}

Result<std::unique_ptr<StepClient>> StepClient::create(
    const std::shared_ptr<ControlClient>& control, std::chrono::milliseconds timeout) {
    auto stepper = control->create_stepper();
    if (!stepper) {
        return std::unexpected(stepper.error());
    }
    std::unique_ptr<StepClient> client(new StepClient(control, *stepper));
    if (auto agreed = control->roundtrip(timeout); !agreed) {
        return std::unexpected(agreed.error());
    }
    return client;
}

void StepClient::begin(uint64_t length_ns, uint32_t timeout_ms) {
    open_ = true;
    stepscope_stepper_v1_step(stepper_, ++sequence_, static_cast<uint32_t>(length_ns >> 32),
                              static_cast<uint32_t>(length_ns), timeout_ms);
}

std::optional<StepAnswer> StepClient::take_answer() {
    auto answer = std::exchange(answer_, std::nullopt);
    if (answer) {
        open_ = false;
    }
    return answer;
}

}  // namespace stepscope
