// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session_end.hpp"

#include <csignal>
#include <format>
#include <utility>

#include "control_display.hpp"
#include "lock_step.hpp"
#include "log.hpp"
#include "session_clock.hpp"
#include "window_manager.hpp"

namespace stepscope {
namespace {

/** A launcher may close its window before the game that it started opens one. */
constexpr int kHandoverGraceMs = 5000;
/** How long the game may take to end by itself when it is asked to, and when its time stands still.
 */
constexpr auto kPoliteGrace = std::chrono::seconds(5);
constexpr auto kStandingGrace = std::chrono::milliseconds(300);

stepscope_session_v1_end to_protocol(GameEnd::How how) {
    switch (how) {
        case GameEnd::How::exited:
            return STEPSCOPE_SESSION_V1_END_EXITED;
        case GameEnd::How::signaled:
            return STEPSCOPE_SESSION_V1_END_SIGNALED;
        case GameEnd::How::not_started:
            break;
    }
    return STEPSCOPE_SESSION_V1_END_NOT_STARTED;
}

}  // namespace

SessionEnd::SessionEnd(wl_event_loop* loop, const Parts& parts)
    : parts_(parts), grace_timer_(wl_event_loop_add_timer(loop, handle_grace_end, this)) {}

void SessionEnd::handle_game_ended(const GameEnd& end, bool left) {
    game_end_ = end;
    game_empty_ = game_empty_ || !left;
    if (!requested_ && (end.how != GameEnd::How::exited || end.value != 0)) {
        log("{}", describe());
    }
    consider();
    if (parts_.lock_step != nullptr && left) {
        parts_.lock_step->handle_handover();
    }
}

void SessionEnd::handle_game_empty() {
    game_empty_ = true;
    consider();
}

// The command may be a launcher: as long as processes of it show a window, or may be about to, the
// session goes on.
void SessionEnd::consider() {
    if (!game_end_) {
        return;
    }
    if (requested_ && (game_empty_ || !parts_.options.until_empty)) {
        stop();
    } else if (game_empty_) {
        handle_game_over(*game_end_);
    } else if (parts_.options.until_empty || parts_.windows.has_windows()) {
        no_window_since_ns_.reset();
    } else if (parts_.lock_step == nullptr) {
        wl_event_source_timer_update(grace_timer_.get(), kHandoverGraceMs);
    } else {
        consider_handover();
    }
}

// In lock-step: what is about to come can only come in a step.
void SessionEnd::consider_handover() {
    const int64_t now = parts_.clock.now_ns();
    const int64_t since = no_window_since_ns_.value_or(now);
    no_window_since_ns_ = since;
    if (now - since >= int64_t{kHandoverGraceMs} * 1'000'000) {
        stop();
    }
}

int SessionEnd::handle_grace_end(void* data) {
    auto* self = static_cast<SessionEnd*>(data);
    if (self->game_end_ && !self->parts_.windows.has_windows()) {
        self->stop();
    }
    return 0;
}

void SessionEnd::request() {
    if (std::exchange(requested_, true)) {
        return;
    }
    const bool waits_for_rest = parts_.options.until_empty && !game_empty_;
    if (game_ == nullptr || (game_end_ && !waits_for_rest)) {
        stop();
    } else {
        terminate_game();
    }
}

void SessionEnd::repeat_request() {
    if (requested_ && game_ != nullptr) {
        terminate_game();
    }
}

void SessionEnd::terminate_game() {
    // A game that waits for time which nobody moves on can't end by itself.
    const bool stands = parts_.lock_step != nullptr && !parts_.control.stepped();
    game_->terminate(stands ? kStandingGrace : kPoliteGrace);
}

// In lock-step the game's last picture may be on its way to a step, and its end to the next one.
void SessionEnd::handle_game_over(const GameEnd& end) {
    if (parts_.lock_step == nullptr || end.how == GameEnd::How::not_started) {
        stop();
        return;
    }
    if (!std::exchange(game_over_, true)) {
        parts_.lock_step->handle_game_over(end.how == GameEnd::How::signaled, describe(),
                                           [this] { stop(); });
    }
}

GameEnd SessionEnd::game_end() const {
    return game_end_.value_or(GameEnd{GameEnd::How::signaled, SIGKILL});
}

std::string SessionEnd::describe() const {
    return std::format("'{}' {}", parts_.options.command.front(), game_end().describe());
}

void SessionEnd::stop() {
    if (std::exchange(stopped_, true)) {
        return;
    }
    exit_status_ = game_end_ ? game_end_->exit_status() : 1;
    const GameEnd end = game_end();
    if (parts_.lock_step != nullptr) {
        parts_.lock_step->end_now(end.how == GameEnd::How::signaled, describe());
    }
    parts_.control.handle_ended(to_protocol(end.how), static_cast<uint32_t>(end.value));
}

}  // namespace stepscope
