// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stepper.hpp"

namespace stepscope {
namespace {

constexpr int64_t kMaxStepNs = int64_t{3600} * 1'000'000'000;

stepscope_stepper_v1_status to_protocol(LockStep::Status status) {
    switch (status) {
        case LockStep::Status::presented:
            return STEPSCOPE_STEPPER_V1_STATUS_PRESENTED;
        case LockStep::Status::no_commit:
            return STEPSCOPE_STEPPER_V1_STATUS_NO_COMMIT;
        case LockStep::Status::exited:
            return STEPSCOPE_STEPPER_V1_STATUS_EXITED;
        case LockStep::Status::crashed:
            return STEPSCOPE_STEPPER_V1_STATUS_CRASHED;
        case LockStep::Status::timeout:
            return STEPSCOPE_STEPPER_V1_STATUS_TIMEOUT;
    }
    return STEPSCOPE_STEPPER_V1_STATUS_TIMEOUT;
}

}  // namespace

const struct stepscope_stepper_v1_interface Stepper::kRequests{
    .destroy = [](wl_client*, wl_resource* resource) { wl_resource_destroy(resource); },
    .step = handle_step,
};

Stepper::~Stepper() {
    lock_step_.forget_answer();
    if (resource_ != nullptr) {
        wl_resource_set_user_data(resource_, nullptr);
    }
}

Stepper* Stepper::self_of(wl_resource* resource) {
    return static_cast<Stepper*>(wl_resource_get_user_data(resource));
}

void Stepper::create(wl_client* client, uint32_t version, uint32_t id) {
    resource_ =
        wl_resource_create(client, &stepscope_stepper_v1_interface, static_cast<int>(version), id);
    if (resource_ == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource_, &kRequests, this, [](wl_resource* gone) {
        if (Stepper* self = self_of(gone)) {
            self->resource_ = nullptr;
            // The step goes on to its end, so that the next client finds time standing still.
            self->lock_step_.forget_answer();
            self->left_();
        }
    });
    send_gate();
}

void Stepper::send_gate() {
    gate_ = lock_step_.gate();
    apis_ = lock_step_.present_apis();
    if (wl_resource_get_version(resource_) >= STEPSCOPE_STEPPER_V1_GATE_SINCE_VERSION) {
        stepscope_stepper_v1_send_gate(resource_, static_cast<uint32_t>(gate_), apis_);
    }
}

void Stepper::handle_step(wl_client* /*client*/, wl_resource* resource, uint32_t sequence,
                          uint32_t length_hi, uint32_t length_lo, uint32_t timeout_ms) {
    Stepper* self = self_of(resource);
    const uint64_t length = uint64_t{length_hi} << 32 | length_lo;
    if (length == 0 || length > static_cast<uint64_t>(kMaxStepNs)) {
        wl_resource_post_error(resource, STEPSCOPE_STEPPER_V1_ERROR_INVALID_STEP,
                               "a step of %llu ns; expected 1 ns to one hour",
                               static_cast<unsigned long long>(length));
        return;
    }
    if (self->lock_step_.step_open()) {
        wl_resource_post_error(resource, STEPSCOPE_STEPPER_V1_ERROR_STEP_OPEN,
                               "step %u while another is open; wait for its stepped event",
                               sequence);
        return;
    }
    self->lock_step_.begin(static_cast<int64_t>(length), timeout_ms,
                           [self, sequence](const LockStep::Outcome& outcome) {
                               const auto now = static_cast<uint64_t>(outcome.now_ns);
                               if (self->gate_ != self->lock_step_.gate() ||
                                   self->apis_ != self->lock_step_.present_apis()) {
                                   self->send_gate();
                               }
                               stepscope_stepper_v1_send_stepped(
                                   self->resource_, sequence, to_protocol(outcome.status),
                                   static_cast<uint32_t>(outcome.step >> 32),
                                   static_cast<uint32_t>(outcome.step),
                                   static_cast<uint32_t>(now >> 32), static_cast<uint32_t>(now),
                                   outcome.message.c_str());
                               wl_client_flush(wl_resource_get_client(self->resource_));
                           });
}

}  // namespace stepscope
