// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/processes.hpp"

namespace stepscope {

/** A process of a session's game. */
struct GameProcessInfo : ProcessInfo {
    std::string arguments;  // separated by zero bytes
};

/** The descendants of `ancestor`, with what they were started with. */
std::vector<GameProcessInfo> processes_below(pid_t ancestor, const std::string& proc = "/proc");

/** What there is to know of one title's start by a Steam client. */
struct TitleProcesses {
    pid_t client = 0;  // the client itself
    pid_t title = 0;   // the title's reaper: it lives as long as the title
    pid_t game = 0;    // the newest process of the title that has no children
    std::string game_name;
    bool compiles_shaders = false;
    std::vector<pid_t> of_title;  // the title's reaper and all below it
};

/** Finds the client and the title with `app_id` among the processes of a session. */
TitleProcesses find_title_processes(const std::vector<GameProcessInfo>& processes, uint32_t app_id);

/** Display and session of a process, from its environment; empty where it can't be read. */
struct ProcessDisplay {
    std::string display;  // $DISPLAY, else $WAYLAND_DISPLAY
    std::string session;  // $STEPSCOPE_GAME_SESSION
};
ProcessDisplay display_of(pid_t pid, const std::string& proc = "/proc");

}  // namespace stepscope
