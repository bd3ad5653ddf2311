// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "base/unique_fd.hpp"
#include "game_process.hpp"
#include "view.hpp"

namespace stepscope {

/**
 * Tells the program that started the session what happens in it (--events-fd): one JSON object a
 * line, written as it happens and never waited for. A reader that lets the pipe fill up loses the
 * lines that don't fit.
 *
 *   {"event":"started","pid":N,"reaper":N}   the command runs; all of the game's processes are
 *                                            descendants of the reaper
 *   {"event":"window","title":…,"app-id":…,"backend":"wayland"|"x11","pid":N}
 *                                            the window that has the output now, or a new title
 *   {"event":"no-window"}
 *   {"event":"ended","how":"exited"|"signaled"|"not-started","value":N}
 *                                            the command; processes that it started may go on
 */
class EventReport {
public:
    /** Nothing is reported. */
    EventReport() = default;
    /** Takes the descriptor over; it becomes non-blocking and close-on-exec. */
    explicit EventReport(UniqueFd fd);

    void started(pid_t game, pid_t reaper) const;
    void window(const View* view) const;
    void ended(const GameEnd& end) const;

private:
    void write(const nlohmann::json& event) const;

    UniqueFd fd_;
};

}  // namespace stepscope
