// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "clock_memory.hpp"
#include "clock_page.hpp"
#include "clock_processes.hpp"
#include "clock_sleepers.hpp"
#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

namespace clock {
struct Action;
}

/**
 * Controls the virtual time of a game whose processes run with the clock library: opens steps and
 * learns how they end. Time moves only within a step. docs/virtual-time.md has the rules.
 *
 * One thread; never blocks. Put fd() into the event loop and call dispatch() when it is readable:
 * callbacks come from dispatch() and from recheck(), and may call every function but the
 * destructor.
 */
class ClockController {
public:
    struct Options {
        int64_t monotonic_base_ns = 1'000'000'000'000;         // 1000 s after "boot"
        int64_t realtime_base_ns = 1'767'225'600'000'000'000;  // 2026-01-01T00:00:00Z
        std::optional<uint64_t> seed;                          // random numbers, too
        uint32_t spin_reads = 100;             // clock reads in one instant that count as a wait…
        uint32_t spin_advance_ns = 1'000'000;  // …of this length
    };

    enum class StepStatus {
        presented,  // T+Δ reached; the present hook saw at least one present
        no_commit,  // T+Δ reached, no present was reported to the page
        exited,     // the game's last process ended by itself; time has gone on to T+Δ
        crashed,    // …by a signal
        cancelled,  // cancel_step()
    };

    struct StepResult {
        uint64_t seq = 0;
        StepStatus status = StepStatus::no_commit;
        uint64_t now_ns = 0;    // virtual time since the start
        uint64_t presents = 0;  // of this step
        std::string message;    // exited, crashed: who and how
    };

    struct Callbacks {
        /** The step has ended; none is open now. */
        std::function<void(const StepResult&)> on_step_done;
        /**
         * Everything in the game waits, some of it for outside events. True: none is on its way
         * (every request read and answered, every reply sent), time may move. False: call
         * recheck() once that is so. Missing: always true. A thread may have been woken meanwhile,
         * and be about to run: see set_careful().
         */
        std::function<bool()> on_quiescent;
        /** What begin_settling() waited for has come. */
        std::function<void()> on_settled;
    };

    struct ThreadInfo {
        pid_t pid = 0;
        pid_t tid = 0;
        clock::ThreadState state = clock::ThreadState::free;
        clock::WaitKind kind = clock::WaitKind::none;
        uint64_t deadline_ns = clock::kNever;
    };

    static Result<ClockController> create(const Options& options);

    ClockController(ClockController&&) = default;
    ClockController& operator=(ClockController&&) = default;
    ~ClockController();

    void set_callbacks(Callbacks callbacks) { callbacks_ = std::move(callbacks); }
    /** on_quiescent is only called when, besides, no thread was woken: it wants to send something
     * to somebody who has its turn. Costs another look into /proc. */
    void set_careful(bool careful) { careful_ = careful; }

    /**
     * What the game's environment needs, as NAME=value: the page, and the library in LD_PRELOAD
     * before what that holds already.
     */
    std::vector<std::string> environment(const std::string& library_path) const;
    /** Descriptors that the game must inherit under the same numbers. Borrowed. They are
     * close-on-exec here: clear that between fork and exec. */
    std::vector<int> inherited_fds() const { return {page_.fd(), notify_write_.get()}; }

    /**
     * To be called before the game is started: its first process counts as running from here on,
     * so no step can end before it has come.
     */
    Result<void> expect_process();
    /** …and after, with the child's pid: its end is noticed even if the library never starts. */
    void process_started(pid_t pid);
    /** The process that was started that way is gone; others may live on. */
    bool first_process_ended() const { return first_ended_; }

    /** Lets the game run until now + delta. An error while a step is open. */
    Result<uint64_t> begin_step(uint64_t delta_ns);
    /** The same between two steps: who is held until the next step stays so, who has shown a frame
     * for one. It counts as part of the last step. */
    Result<uint64_t> begin_interlude(uint64_t delta_ns);
    /** Somebody closes its connection to a display, and is held before that. */
    bool anybody_leaves();
    /** Between two steps: lets them go on at this instant. Ends as a step does, the same one. */
    Result<uint64_t> let_leave();
    /** How many windows the game has: without any, nobody is held who leaves. */
    void set_windows(uint32_t count);
    /** A wall-clock watchdog gave up: ends the step as cancelled, with time where it is. What runs
     * goes on until it waits. */
    void cancel_step();
    bool step_open() const { return open_; }
    /** Virtual time at the end of the open step. */
    uint64_t limit_ns() const { return page_->limit_ns; }
    /** A step is open, or settling, and some thread of the game runs. */
    bool running() const;
    /** Nothing of the game runs, nor was woken and is about to. It costs a look into /proc for each
     * thread that waits for something outside. */
    bool asleep();
    /** Changes whenever a thread of the game begins to run. */
    uint64_t quiescence();

    /**
     * Between steps: a display server, which is never held, got something to do. on_settled is
     * called when all wait again. Time stands still, and what is held stays so.
     */
    void begin_settling();
    /** Gives that up. */
    void cancel_settling();
    bool settling() const { return settling_; }

    /** Readable when dispatch() has something to do. */
    int fd() const { return epoll_.get(); }
    void dispatch();
    /** on_quiescent's answer may have changed. */
    void recheck();

    uint64_t now_ns() const;
    /** APIs that frames were shown by through the present gate so far: clock::kPresent…. */
    uint32_t present_apis() const;
    int64_t monotonic_ns() const;
    /** Processes of the game that run with the library, or are expected to. */
    size_t process_count() const;
    /** Display servers are none of the game's. */
    size_t game_process_count() const;
    std::vector<ThreadInfo> threads() const;
    /** For error reports: who still runs, who waits for what. One thread a line. */
    std::string describe() const;

    clock::ClockPage& page() { return *page_; }

private:
    ClockController() = default;
    enum class Frees { held, leaving, nobody };
    Result<uint64_t> begin(uint64_t delta_ns, Frees frees);
    void perform(const clock::Action& action);
    void watch_processes();
    void handle_process_end(const ClockProcesses::End& end);
    void confirm();
    bool wait_until_asleep(ClockSleepers::Look look);
    void arm_retry(uint64_t delay_ns);
    void finish(StepStatus status, std::string message);

    ClockMemory page_;
    ClockSleepers sleepers_;
    ClockProcesses processes_;
    UniqueFd notify_read_;
    UniqueFd notify_write_;
    UniqueFd retry_timer_;
    UniqueFd epoll_;
    Callbacks callbacks_;
    bool open_ = false;
    bool settling_ = false;
    bool careful_ = false;
    bool had_process_ = false;
    pid_t first_pid_ = 0;
    bool first_ended_ = false;
    uint64_t presents_before_ = 0;
    uint32_t retries_ = 0;
    bool retry_armed_ = false;
    StepStatus end_status_ = StepStatus::exited;
    std::string end_message_;
};

const char* to_string(ClockController::StepStatus status);

}  // namespace stepscope
