// SPDX-License-Identifier: LGPL-2.1-or-later
#include "lock_step.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "log.hpp"
#include "pacer.hpp"

namespace stepscope {
namespace {

/** How long the game may keep others waiting in a step; longer than it loads on a busy machine. */
constexpr int kTurnPatienceMs = 5000;
/** How often we look meanwhile whether we were asked to end. */
constexpr int64_t kLookNs = 100'000'000;
/** …and whether who was woken has come. */
constexpr int64_t kShortLookNs = 5'000;
constexpr int64_t kLongestLookNs = 1'000'000;

/** How long the X server may take to start. */
constexpr int kPreparationMs = 30'000;

/** How long the word may take on how the game ended, once its process is gone. */
constexpr int kEndPatienceMs = 5000;

}  // namespace

LockStep::LockStep(wl_display* display, ClockController controller, CaptureOutput& output)
    : display_(display),
      controller_(std::move(controller)),
      output_(output),
      traffic_(display),
      recheck_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    wl_event_loop* loop = wl_display_get_event_loop(display_);
    controller_source_.reset(
        wl_event_loop_add_fd(loop, controller_.fd(), WL_EVENT_READABLE, handle_controller, this));
    recheck_source_.reset(
        wl_event_loop_add_fd(loop, recheck_fd_.get(), WL_EVENT_READABLE, handle_recheck, this));
    timeout_.reset(wl_event_loop_add_timer(loop, handle_timeout, this));
    controller_.set_callbacks({
        .on_step_done = [this](const auto& result) { handle_step_done(result); },
        .on_quiescent = [this] { return quiet(); },
        .on_settled = [this] { handle_settled(); },
    });
}

LockStep::~LockStep() {
    controller_.set_callbacks({});
}

void LockStep::begin(int64_t length_ns, uint32_t timeout_ms, Done done) {
    if (done_ || preparing_) {
        // The consumer of the open one is gone, but the game is still at it; or there is no game.
        next_ = Next{length_ns, timeout_ms, std::move(done)};
        wl_event_source_timer_update(timeout_.get(),
                                     preparing_ ? kPreparationMs : static_cast<int>(timeout_ms));
        if (auto start = std::exchange(start_, {})) {
            start();
        }
        return;
    }
    forgotten_ = false;
    done_ = std::move(done);
    if (ended_) {
        ended_->step = step_;
        ended_->now_ns = now_ns();
        answer(*ended_);
        return;
    }
    ++step_;
    if (before_step_) {
        before_step_();
    }
    if (!done_) {
        return;  // the session is over, and the step was told so
    }
    wl_event_source_timer_update(timeout_.get(), static_cast<int>(timeout_ms));
    const int patience_ms = timeout_ms == 0
                                ? kTurnPatienceMs
                                : static_cast<int>(std::min<uint32_t>(timeout_ms, kTurnPatienceMs));
    patient_until_ns_ = monotonic_ns() + int64_t{patience_ms} * 1'000'000;
    controller_.set_careful(output_.has_display_server());
    if (output_.has_display_server()) {
        // What it was sent since the last step, input for one, is sent now and has its effect
        // first.
        starting_ns_ = length_ns;
        controller_.begin_settling();
    } else {
        open(length_ns);
    }
}

void LockStep::open(int64_t length_ns) {
    output_.begin_step();
    wl_display_flush_clients(display_);
    const int64_t taken_off = std::min(ahead_ns_, length_ns - 1);
    ahead_ns_ -= taken_off;
    if (auto begun = controller_.begin_step(static_cast<uint64_t>(length_ns - taken_off)); !begun) {
        answer({.status = Status::timeout,
                .step = step_,
                .now_ns = now_ns(),
                .message = begun.error().message});
    }
}

void LockStep::finish_preparing(int64_t length_ns, std::function<void()> ready) {
    ready_ = std::move(ready);
    ahead_ns_ = 0;
    if (!controller_.begin_step(static_cast<uint64_t>(length_ns))) {
        handle_prepared();
    }
}

void LockStep::handle_prepared() {
    preparing_ = false;
    origin_ns_ = static_cast<int64_t>(controller_.now_ns());
    if (auto ready = std::exchange(ready_, {})) {
        ready();
    }
    begin_next();
}

void LockStep::begin_next() {
    if (auto next = std::exchange(next_, std::nullopt)) {
        begin(next->length_ns, next->timeout_ms, std::move(next->done));
    }
}

void LockStep::advance(int64_t nanoseconds) {
    constexpr int kPatienceMs = 2000;
    const auto target = static_cast<int64_t>(controller_.now_ns()) + nanoseconds;
    const bool settling = controller_.settling();
    controller_.cancel_settling();
    advancing_ = true;
    for (int waited_ms = 0; waited_ms < kPatienceMs;) {
        const int64_t missing = target - static_cast<int64_t>(controller_.now_ns());
        if (missing <= 0) {
            break;
        }
        if (!controller_.step_open()) {
            ahead_ns_ += missing;
            if (!controller_.begin_interlude(static_cast<uint64_t>(missing))) {
                break;
            }
        }
        pollfd polled{controller_.fd(), POLLIN, 0};
        if (::poll(&polled, 1, 1) > 0) {
            controller_.dispatch();
        } else {
            // It may have asked before, and been told to wait for us.
            controller_.recheck();
            ++waited_ms;
        }
    }
    if ((!done_ || settling || deferred_) && controller_.step_open()) {
        // Nobody's step, and not at its end after all this time.
        controller_.cancel_step();
    }
    advancing_ = false;
    if (settling) {
        controller_.begin_settling();
    }
    if (deferred_) {
        // The open step came to its end on the way.
        request_recheck();
    }
}

void LockStep::wait_for_turn() {
    int64_t pause_ns = kShortLookNs;
    while ((controller_.step_open() || controller_.settling()) && !controller_.asleep()) {
        sigset_t pending;
        const int64_t left_ns = patient_until_ns_ - monotonic_ns();
        if (left_ns <= 0 ||
            (::sigpending(&pending) == 0 && ::sigismember(&pending, SIGTERM) == 1)) {
            return;
        }
        // Who runs tells when it waits. Who was only woken runs soon.
        int64_t look_ns = kLookNs;
        if (!controller_.running()) {
            look_ns = pause_ns;
            pause_ns = std::min(pause_ns * 2, kLongestLookNs);
        }
        look_ns = std::min(look_ns, left_ns);
        const timespec timeout{look_ns / 1'000'000'000, look_ns % 1'000'000'000};
        pollfd polled{controller_.fd(), POLLIN, 0};
        if (::ppoll(&polled, 1, &timeout, nullptr) > 0) {
            handle_controller(0, 0, this);
        }
    }
}

void LockStep::flush_clients() {
    if (!output_.has_display_server() || preparing_) {
        wl_display_flush_clients(display_);
        return;
    }
    if (controller_.step_open() || controller_.settling()) {
        wait_for_turn();
        wl_display_flush_clients(display_);
        return;
    }
    wl_client* client = nullptr;
    wl_client_for_each(client, wl_display_get_client_list(display_)) {
        if (!output_.is_display_server(client)) {
            wl_client_flush(client);
        }
    }
}

void LockStep::forget_answer() {
    next_.reset();
    if (done_) {
        forgotten_ = true;
        done_ = [](const Outcome&) {};
    } else if (told_) {
        request_recheck();  // not now: the consumer is just going
    }
}

// Time may only move on when all that the game sent was read, and all that it was sent arrived. The
// controller has made sure that its threads sleep; a message on its way would have woken one.
bool LockStep::quiet() {
    if (advancing_) {
        return true;
    }
    bool quiet = false;
    if (output_.has_display_server()) {
        quiet = traffic_.count_quiet_round(controller_.quiescence(), looped_);
    } else {
        // A message that was read just before this may have left work for the loop's end, such as
        // a configure event for a new window.
        wl_event_loop_dispatch_idle(wl_display_get_event_loop(display_));
        quiet = !traffic_.pending();
    }
    drained_ = quiet;
    if (!quiet) {
        request_recheck();
    }
    return quiet;
}

// By a descriptor and not as an idle task: those run before the loop looks at its sockets again.
void LockStep::request_recheck() {
    const uint64_t one = 1;
    (void)!::write(recheck_fd_.get(), &one, sizeof(one));
}

int LockStep::handle_controller(int /*fd*/, uint32_t /*mask*/, void* data) {
    auto* self = static_cast<LockStep*>(data);
    self->controller_.dispatch();
    self->drained_ = false;
    return 0;
}

int LockStep::handle_recheck(int fd, uint32_t /*mask*/, void* data) {
    uint64_t count = 0;
    (void)!::read(fd, &count, sizeof(count));
    auto* self = static_cast<LockStep*>(data);
    self->looped_ = true;
    if (!self->done_ && self->told_) {
        self->tell_end();
    } else if (!self->deferred_) {
        self->controller_.recheck();
    } else if (self->quiet()) {
        if (const auto result = std::exchange(self->deferred_, {})) {
            self->handle_step_done(*result);
        }
    }
    self->looped_ = false;
    self->drained_ = false;
    return 0;
}

int LockStep::handle_timeout(void* data) {
    auto* self = static_cast<LockStep*>(data);
    if (self->ended_ && self->done_ && !self->output_.showing_step()) {
        self->end_now(false, "");
    } else if (auto next = self->preparing_ ? std::exchange(self->next_, {}) : std::nullopt) {
        self->done_ = std::move(next->done);
        self->answer({.status = Status::timeout,
                      .step = self->step_,
                      .now_ns = 0,
                      .message = "the X server has not started yet"});
    } else if (!self->done_) {
        return 0;
    } else if (const auto result = std::exchange(self->ended_step_, {})) {
        self->finish(*result);
    } else if (self->controller_.settling()) {
        self->controller_.cancel_settling();
        self->settling_.reset();
        self->starting_ns_.reset();
        self->answer({.status = Status::timeout,
                      .step = self->step_,
                      .now_ns = self->now_ns(),
                      .message = self->controller_.describe()});
    } else if (self->controller_.step_open()) {
        self->controller_.cancel_step();
    } else {
        self->answer({.status = Status::timeout,
                      .step = self->step_,
                      .now_ns = self->now_ns(),
                      .message = "the step is done, but consumers hold all memory for its picture; "
                                 "release frames"});
    }
    return 0;
}

void LockStep::handle_step_done(const ClockController::StepResult& result) {
    if (advancing_) {
        // Of a client's step, or of the advance itself, which nobody waits for.
        if (done_ && !deferred_ && !starting_ns_ && !settling_) {
            deferred_ = result;
        }
        return;
    }
    if (preparing_) {
        handle_prepared();
    } else if (result.status != ClockController::StepStatus::cancelled && must_wait_for_word()) {
        // Somebody else knows why it ended, and whether others go on for it.
        waited_for_rest_ = handed_over_;
        ended_step_ = result;
        wl_event_source_timer_update(timeout_.get(), kEndPatienceMs);
    } else {
        finish(result);
    }
}

// A launcher may be followed by what it started, and that is awaited once only: what does not live
// in the session's time has no end here.
bool LockStep::must_wait_for_word() const {
    if (ended_) {
        return false;
    }
    return handed_over_ ? !waited_for_rest_ && controller_.game_process_count() == 0
                        : controller_.first_process_ended();
}

void LockStep::finish(const ClockController::StepResult& result) {
    using Ended = ClockController::StepStatus;
    // Time may have been advanced since.
    Outcome outcome{.step = step_, .now_ns = static_cast<int64_t>(result.now_ns) - origin_ns_};
    const bool over = result.status == Ended::exited || result.status == Ended::crashed;
    if (result.status == Ended::cancelled) {
        outcome.status = Status::timeout;
        outcome.message = controller_.describe();
        answer(outcome);
    } else if (over && handed_over_ && !ended_) {
        outcome.status = Status::timeout;
        outcome.message =
            "no process of the game lives in the session's time any more; what it started runs on "
            "its own";
        answer(outcome);
    } else if (!drained_) {
        // A game that ended, waits for time alone, or in the present gate, came to the end without
        // asking: what it sent last may not have been read yet.
        deferred_ = result;
        request_recheck();
    } else if (over || ended_) {
        if (!ended_) {
            ended_ = Outcome{
                .status = result.status == Ended::crashed ? Status::crashed : Status::exited,
                .message = result.message};
        }
        answer_end(*ended_, std::move(outcome), result.presents);
    } else {
        show(std::move(outcome), result.presents);
    }
}

// Its windows are gone: what they showed last was kept as they went, and an empty screen is no
// picture of the game's.
void LockStep::answer_end(Outcome& end, Outcome outcome, uint64_t presents) {
    end.step = outcome.step;
    end.now_ns = outcome.now_ns;
    if (!output_.showed_what_went(step_)) {
        answer(end);
        return;
    }
    outcome.status = Status::presented;
    gate_.note_picture(presents, present_apis());
    answer(outcome);
}

// An X server gathers what its clients draw and shows it with a frame callback. Where it comes in
// the course of a step, chance would decide how much had been drawn. So it comes at the end.
void LockStep::show(Outcome outcome, uint64_t presents) {
    if (!output_.ask_display_server()) {
        show_picture(std::move(outcome), presents);
        return;
    }
    settling_ = Drawn{std::move(outcome), presents};
    wl_display_flush_clients(display_);
    controller_.begin_settling();
}

void LockStep::handle_settled() {
    if (const auto length_ns = std::exchange(starting_ns_, std::nullopt)) {
        open(*length_ns);
    } else if (auto drawn = std::exchange(settling_, std::nullopt)) {
        show_picture(std::move(drawn->outcome), drawn->presents);
    }
}

void LockStep::show_picture(Outcome outcome, uint64_t presents) {
    output_.finish_step({.step = outcome.step, .now_ns = outcome.now_ns},
                        [this, outcome, presents](bool presented) mutable {
                            outcome.status = presented ? Status::presented : Status::no_commit;
                            if (presented) {
                                gate_.note_picture(presents, present_apis());
                            } else if (ended_) {
                                outcome.status = ended_->status;
                                outcome.message = ended_->message;
                            } else if (controller_.anybody_leaves() && controller_.let_leave()) {
                                // Nothing of theirs is left to be seen, and they go: the same step
                                // comes to its end once more.
                                return;
                            }
                            answer(outcome);
                        });
}

void LockStep::answer(const Outcome& outcome) {
    wl_event_source_timer_update(timeout_.get(), 0);
    deferred_.reset();
    const bool end_told =
        forgotten_ || outcome.status == Status::exited || outcome.status == Status::crashed;
    if (step_end_) {
        step_end_(outcome.now_ns);
    }
    if (Done done = std::exchange(done_, {})) {
        done(outcome);
    }
    if (end_told) {
        tell_end();
    }
    begin_next();
}

void LockStep::tell_end() {
    if (auto told = std::exchange(told_, {})) {
        told();
    }
}

void LockStep::handle_before_unmap() {
    if (done_ && !preparing_ && !advancing_ && controller_.step_open()) {
        output_.show_before_it_goes(
            {.step = step_, .now_ns = static_cast<int64_t>(controller_.limit_ns()) - origin_ns_});
    }
}

void LockStep::handle_handover() {
    handed_over_ = true;
    if (const auto result = std::exchange(ended_step_, {})) {
        finish(*result);
    }
}

void LockStep::handle_game_over(bool crashed, const std::string& how, std::function<void()> told) {
    if (!ended_) {
        ended_ = Outcome{.status = crashed ? Status::crashed : Status::exited,
                         .step = step_,
                         .now_ns = now_ns(),
                         .message = how};
    }
    told_ = std::move(told);
    if (!done_) {
        tell_end();
    } else if (const auto result = std::exchange(ended_step_, {})) {
        finish(*result);
    } else if (!output_.showing_step()) {
        // The X server may still be at it, and what the game sent last is not read yet.
        wl_event_source_timer_update(timeout_.get(), kEndPatienceMs);
    }
}

void LockStep::end_now(bool crashed, const std::string& how) {
    if (!ended_) {
        ended_ = Outcome{.status = crashed ? Status::crashed : Status::exited, .message = how};
    }
    ended_step_.reset();
    starting_ns_.reset();
    settling_.reset();
    if (done_) {
        controller_.set_callbacks({});
        controller_.cancel_settling();
        controller_.cancel_step();
        ended_->step = step_;
        ended_->now_ns = now_ns();
        answer(*ended_);
    }
}

}  // namespace stepscope
