// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <optional>
#include <string>

#include "game_process.hpp"
#include "options.hpp"

namespace stepscope {

class ControlDisplay;
class LockStep;
class SessionClock;
class WindowManager;

/**
 * Decides when a session is over: its game has ended, a launcher has handed over to nobody, or
 * somebody wants it to end. Tells the consumers how. All parts are borrowed.
 */
class SessionEnd {
public:
    struct Parts {
        const Options& options;
        const WindowManager& windows;
        const SessionClock& clock;
        ControlDisplay& control;
        LockStep* lock_step;  // null: a live session
    };

    SessionEnd(wl_event_loop* loop, const Parts& parts);
    SessionEnd(const SessionEnd&) = delete;
    SessionEnd& operator=(const SessionEnd&) = delete;

    /** The game is about to start: before it nothing has to be ended. */
    void handle_game_starting(GameProcess& game) { game_ = &game; }
    /** The session is taken apart: who leaves now asks nothing of the game any more. */
    void forget_game() { game_ = nullptr; }
    /** The command has ended; `left`: processes that it started go on. */
    void handle_game_ended(const GameEnd& end, bool left);
    /** No process of the game is left. */
    void handle_game_empty();
    /** Windows have come or gone, or a step is about to begin. */
    void consider();
    /** Somebody wants the session to end: the game is asked to. */
    void request();
    bool requested() const { return requested_; }
    /** Where that was done: the game may be able to now, or no longer. */
    void repeat_request();
    /** The session is over now. */
    void stop();
    bool stopped() const { return stopped_; }
    /** Of this program: the game's. */
    int exit_status() const { return exit_status_; }

private:
    static int handle_grace_end(void* data);

    void consider_handover();
    void terminate_game();
    void handle_game_over(const GameEnd& end);
    GameEnd game_end() const;
    std::string describe() const;

    Parts parts_;
    EventSource grace_timer_;
    GameProcess* game_ = nullptr;
    std::optional<GameEnd> game_end_;
    std::optional<int64_t> no_window_since_ns_;  // virtual time, of a launcher's hand-over
    bool game_empty_ = false;
    bool game_over_ = false;
    bool requested_ = false;
    bool stopped_ = false;
    int exit_status_ = 1;
};

}  // namespace stepscope
