// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>

#include "base/unique_fd.hpp"
#include "gamepads.hpp"
#include "options.hpp"
#include "report.hpp"
#include "tests/game/frame_code.hpp"

namespace stepscope::testgame {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

/**
 * What a game is apart from its display: when the next frame is due, what it shows, when the game
 * ends. A back-end asks in its loop and tells what happened. Waits go through clock_gettime and
 * ppoll alone, as those of ordinary games do, so that a virtual clock rules them too.
 */
class Game {
public:
    Game(const Options& options, Report& report);

    const Options& options() const { return options_; }
    TimePoint start() const { return start_; }
    Report& report() { return report_; }

    /** Does what is due by now: crashes, hands over, ends. Call it once per turn of the loop. */
    void tick();
    bool finished() const { return finished_; }
    void finish() { finished_ = true; }
    /** The last line of the report. */
    void write_summary();

    /** A frame should be drawn now, if there is a buffer. */
    bool frame_due() const;
    /** There should have been a frame and no buffer was free. Until frame_shown(), this counts. */
    void starve();
    /** Reads the gamepads and draws the next frame. */
    uint32_t paint_next(const frame_code::Pixels& image);
    /** The frame that was painted last has gone to the display. */
    void frame_shown();
    /** A frame callback came: with --vsync the next frame is due. */
    void vsync() { vsync_due_ = true; }
    /** Tells of a buffer that came back after it was busy for so long. */
    void buffer_released(std::chrono::nanoseconds busy);

    /** Reports an input event and numbers it; frames drawn from now on carry the number. */
    void input(const char* event, nlohmann::json fields);

    /** True once each, when the window is to be opened or closed. */
    bool take_dialog_due() { return take(dialog_at_); }
    bool take_popup_due() { return take(popup_at_); }
    bool take_close_second_due() { return take(close_second_at_); }
    /** Dialog or menu was opened; --second-for counts from here. */
    void second_opened();

    /**
     * Polls until an event or until something is due; frames are only waited for where the window
     * is `drawable`. False with errno set if polling failed.
     */
    bool wait(std::span<pollfd> descriptors, bool drawable);

private:
    static bool take(std::optional<TimePoint>& due);
    std::optional<TimePoint> next_wake(bool drawable) const;
    std::optional<TimePoint> after(std::optional<double> seconds) const;
    void start_game();

    const Options& options_;
    Report& report_;
    Gamepads gamepads_;
    UniqueFd epoll_;
    TimePoint start_;
    std::optional<TimePoint> exit_at_;
    std::optional<TimePoint> crash_at_;
    std::optional<TimePoint> handover_at_;
    std::optional<TimePoint> dialog_at_;
    std::optional<TimePoint> popup_at_;
    std::optional<TimePoint> close_second_at_;
    TimePoint frame_at_;
    bool vsync_due_ = true;
    bool finished_ = false;

    uint32_t frames_shown_ = 0;
    uint32_t input_sequence_ = 0;
    std::optional<TimePoint> starving_since_;
    uint64_t starved_frames_ = 0;
    std::chrono::nanoseconds starved_{};
};

}  // namespace stepscope::testgame
