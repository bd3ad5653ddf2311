// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "control_client.hpp"

struct stepscope_stepper_v1;

namespace stepscope {

/** The values of the protocol's enum. */
enum class StepStatus : uint32_t {
    presented = 1,
    no_commit = 2,
    exited = 3,
    crashed = 4,
    timeout = 5,
};

/** What keeps the game from running ahead of its pictures; the values of the protocol's enum. */
enum class StepGate : uint32_t { none = 0, callbacks = 1, present = 2 };

/** How a step ended. */
struct StepAnswer {
    StepStatus status = StepStatus::no_commit;
    uint64_t step = 0;  // of the session, from 1
    uint64_t virtual_time_ns = 0;
    std::string message;
};

/**
 * Takes the steps of a session, one at a time. Of the thread that dispatches. Destroying it leaves
 * the session's time to others; an open step goes on to its end, unanswered.
 */
class StepClient {
public:
    /** Waits until the compositor agreed, at most for `timeout`. */
    static Result<std::unique_ptr<StepClient>> create(const std::shared_ptr<ControlClient>& control,
                                                      std::chrono::milliseconds timeout);
    ~StepClient();
    StepClient(const StepClient&) = delete;
    StepClient& operator=(const StepClient&) = delete;

    /** Queues the request behind all input so far; the next flush sends both. None may be open. */
    void begin(uint64_t length_ns, uint32_t timeout_ms);
    /** True from begin() until the answer has been taken. */
    bool open() const { return open_; }
    /** The answer to the open step, once it has been dispatched. */
    std::optional<StepAnswer> take_answer();
    /** As the session said last. */
    StepGate gate() const { return gate_; }

private:
    struct Listeners;

    StepClient(std::shared_ptr<ControlClient> control, stepscope_stepper_v1* stepper);

    const std::shared_ptr<ControlClient> control_;
    stepscope_stepper_v1* const stepper_;
    uint32_t sequence_ = 0;
    bool open_ = false;
    std::optional<StepAnswer> answer_;
    StepGate gate_ = StepGate::none;
};

}  // namespace stepscope
