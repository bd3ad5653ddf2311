// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "installation.hpp"

namespace stepscope::steam {

/** What is known of a running client. A started client takes over every later `steam` command. */
struct SteamClient {
    pid_t pid = 0;                  // 0: unknown, as always in a sandbox with pids of its own
    bool accepts_commands = false;  // somebody reads its FIFO
    std::optional<bool> logged_on;  // by its connection log; nothing where that doesn't say

    bool running() const { return pid > 0 || accepts_commands; }
};

/**
 * Looks at .steam/steam.pid (which a dead client leaves behind, so the process is checked) and at
 * .steam/steam.pipe (whose file outlives the client too: it counts if it can be opened for writing
 * without blocking, as only a reader at the other end makes possible; nothing is written).
 */
SteamClient detect_client(const SteamInstallation& installation, const std::string& proc = "/proc");

/**
 * The app id if this is the command line (arguments end with zero bytes) of a title's reaper:
 * `reaper SteamLaunch AppId=N -- …`. Install scripts (Install=1) are not titles.
 */
std::optional<uint64_t> reaped_title(std::string_view command_line);

/**
 * App ids of the titles that run right now, each with its reaper's pid, of all installations of
 * all users whose processes we may read.
 */
std::map<uint64_t, pid_t> running_titles(const std::string& proc = "/proc");

}  // namespace stepscope::steam
