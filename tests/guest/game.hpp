// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/clock_controller.hpp"

/** One line of the test program: `name result elapsed`. */
struct Line {
    std::string name;
    long result = 0;
    int64_t value = 0;
    bool operator==(const Line&) const = default;
};

/** The test program; a test run may choose another build of it. */
const char* clock_program();

/** A program that runs with the clock library, and the controller that steps it. */
class Game {
public:
    explicit Game(const std::string& scenario,
                  const stepscope::ClockController::Options& options = {});
    Game(const std::vector<std::string>& command,
         const stepscope::ClockController::Options& options);
    ~Game();

    /** One step to its end. A watchdog in wall time fails the test with who still runs. */
    stepscope::ClockController::StepResult step(uint64_t delta_ns, int patience_ms = 30'000);
    /** Steps until the program has ended. */
    stepscope::ClockController::StepResult run(uint64_t delta_ns, int max_steps = 1'000'000);

    /** What it has printed so far. */
    const std::vector<Line>& lines();
    /** The value of the (first) line of that name. */
    Line line(const std::string& name);

    pid_t pid() const { return pid_; }
    int stdin_fd() const { return input_.get(); }
    stepscope::ClockController& clock() { return clock_; }

    bool quiet = true;  // what on_quiescent answers
    std::function<void(int call)> on_quiescence;
    int quiescence_calls = 0;

private:
    void start(const std::vector<std::string>& command);
    void read_output();

    stepscope::ClockController clock_;
    std::vector<stepscope::ClockController::StepResult> results_;
    stepscope::UniqueFd output_;
    stepscope::UniqueFd input_;
    std::string pending_;
    std::vector<Line> lines_;
    pid_t pid_ = -1;
};

/** Processes that keep the machine busy while it lives. */
class BusyMachine {
public:
    explicit BusyMachine(int count);
    ~BusyMachine();

private:
    std::vector<pid_t> pids_;
};
