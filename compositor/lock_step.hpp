// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/clock_controller.hpp"
#include "base/unique_fd.hpp"
#include "capture_output.hpp"
#include "client_traffic.hpp"
#include "gate_in_force.hpp"
#include "wlr.hpp"

namespace stepscope {

/**
 * Steps a session: opens the game's time for one step, finds out when everything that the step
 * caused has been drawn and received, and shows the picture that came of it.
 */
class LockStep {
public:
    enum class Status { presented, no_commit, exited, crashed, timeout };
    struct Outcome {
        Status status = Status::no_commit;
        uint64_t step = 0;
        int64_t now_ns = 0;
        std::string message;
    };
    using Done = std::function<void(const Outcome&)>;

    LockStep(wl_display* display, ClockController controller, CaptureOutput& output);
    LockStep(const LockStep&) = delete;
    LockStep& operator=(const LockStep&) = delete;
    ~LockStep();

    const ClockController& controller() const { return controller_; }
    ClockController& controller() { return controller_; }

    /** As ClientTraffic's. */
    void set_busy_probe(std::function<bool()> probe) { traffic_.set_busy_probe(std::move(probe)); }

    /** Called before each step; may end the game, which answers the step. */
    void set_before_step(std::function<void()> before_step) {
        before_step_ = std::move(before_step);
    }

    /** Called at the end of each step, with the virtual time, before it is answered. */
    void set_step_end(std::function<void(int64_t now_ns)> step_end) {
        step_end_ = std::move(step_end);
    }

    /** The session has to be set up by `start`, which is called with the first step; that begins
     * after it. Until then its consumer makes its input devices, and nobody sees them come. */
    void prepare(std::function<void()> start) {
        preparing_ = true;
        start_ = std::move(start);
    }
    /** …with this much virtual time for who is there already. `ready` is called after it; the first
     * step begins at virtual time 0, as its consumer sees it. */
    void finish_preparing(int64_t length_ns, std::function<void()> ready);

    /**
     * Moves time on by this much, now, while everything else here stands still: for who must be
     * waited for and itself waits for time. Who is held until the next step stays so. Taken off the
     * next step, so that steps stay exact.
     */
    void advance(int64_t nanoseconds);

    /** The gate that the newest pictures came through, and the APIs of all presents so far: a set
     * of clock::kPresent…. */
    Gate gate() const { return gate_.gate(); }
    uint32_t present_apis() const { return controller_.present_apis(); }
    /**
     * Returns when nothing of the game runs, or no step is open, or the step takes too long. Who
     * answers the game only then takes turns with it, and what it finds does not depend on who was
     * faster.
     */
    void wait_for_turn();
    /**
     * Sends what is there for clients. An X server has two ears, its window manager's requests and
     * Wayland: it has done what the one was told before it gets the other's. Between steps it gets
     * nothing: the next one begins with that.
     */
    void flush_clients();

    /** True while somebody waits for a step's answer. */
    bool step_open() const { return (done_ && !forgotten_) || next_; }
    /**
     * `done` is called once, later. `timeout_ms` of wall time, 0 for none. Where the game is still
     * at a step that was forgotten, this one begins after it.
     */
    void begin(int64_t length_ns, uint32_t timeout_ms, Done done);
    /** Nobody waits for the open step's answer any more. */
    void forget_answer();
    /** A window is about to go, with what it shows. */
    void handle_before_unmap();
    /**
     * Nothing of the game is left. An open step comes to its end: a picture that is new in it is
     * its answer, and the end that of the next one, at once. `told` is called when a step was
     * answered with the end, or nobody is there to ask.
     */
    void handle_game_over(bool crashed, const std::string& how, std::function<void()> told);
    /** The session ends now: so does an open step, and later ones do so at once. */
    void end_now(bool crashed, const std::string& how);
    /** The game's first process has ended; others go on. */
    void handle_handover();

private:
    struct Next {
        int64_t length_ns;
        uint32_t timeout_ms;
        Done done;
    };

    /** What a step came to, but for its picture. */
    struct Drawn {
        Outcome outcome;
        uint64_t presents;
    };

    static int handle_controller(int fd, uint32_t mask, void* data);
    static int handle_recheck(int fd, uint32_t mask, void* data);
    static int handle_timeout(void* data);

    void handle_prepared();
    void begin_next();
    bool quiet();
    void request_recheck();
    void handle_step_done(const ClockController::StepResult& result);
    void show(Outcome outcome, uint64_t presents);
    bool must_wait_for_word() const;
    void finish(const ClockController::StepResult& result);
    void answer_end(Outcome& end, Outcome outcome, uint64_t presents);
    void tell_end();
    void show_picture(Outcome outcome, uint64_t presents);
    void open(int64_t length_ns);
    void handle_settled();
    void answer(const Outcome& outcome);
    int64_t now_ns() const { return static_cast<int64_t>(controller_.now_ns()) - origin_ns_; }

    wl_display* display_;
    ClockController controller_;
    CaptureOutput& output_;
    ClientTraffic traffic_;
    UniqueFd recheck_fd_;
    EventSource controller_source_;
    EventSource recheck_source_;
    EventSource timeout_;
    Done done_;
    bool forgotten_ = false;  // nobody waits for done_
    std::optional<Next> next_;
    uint64_t step_ = 0;
    GateInForce gate_;
    bool preparing_ = false;
    std::function<void()> start_;
    std::function<void()> ready_;
    int64_t patient_until_ns_ = 0;  // CLOCK_MONOTONIC
    std::function<void()> before_step_;
    std::function<void(int64_t)> step_end_;
    int64_t origin_ns_ = 0;  // of what consumers call virtual time
    bool handed_over_ = false;
    bool waited_for_rest_ = false;
    std::optional<ClockController::StepResult> ended_step_;  // the game's end is not explained yet
    bool advancing_ = false;
    bool looped_ = false;
    bool drained_ = false;  // while everything that was sent has been read
    int64_t ahead_ns_ = 0;  // time that was advanced outside steps
    std::optional<ClockController::StepResult> deferred_;
    std::optional<int64_t> starting_ns_;  // of the step, while the X server takes its input
    std::optional<Drawn> settling_;       // while the X server draws the step's picture
    std::optional<Outcome> ended_;
    std::function<void()> told_;  // that it ended; empty once that was so
};

}  // namespace stepscope
