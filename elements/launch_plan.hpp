// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/refresh_rate.hpp"
#include "steam/launch_command.hpp"

namespace stepscope {

enum class LaunchMethod { automatic, client, uri, direct };
enum class OnExit { eos, error, restart };

/** What steamlaunchsrc was asked for. */
struct LaunchSettings {
    uint64_t app_id = 0;  // an app id or a 64-bit game id; 0: none
    std::string title;    // name or id
    std::string command;  // anything that is not Steam, as a shell would split it
    std::string args;
    std::string env;
    std::string working_directory;
    LaunchMethod method = LaunchMethod::automatic;
    bool strip_overlay = false;
    bool sandbox = false;

    std::string program;  // stepscope; empty: found
    std::string session;  // empty: a name of our own
    uint32_t width = 1280;
    uint32_t height = 720;
    RefreshRate refresh{60, 1};
    bool lockstep = false;
    bool pipewire = false;  // pictures or sound leave by PipeWire
    bool sound = false;
    OnExit on_exit = OnExit::eos;
    uint32_t timeout_ms = 60'000;  // 0: none
    std::string log_file;
};

/** A title on its way, for messages and tags. */
struct PlannedTitle {
    steam::SteamTitle title;
    steam::SteamInstallation installation;
    bool client_running = false;
};

/** What will be started. */
struct LaunchPlan {
    steam::LaunchCommand launch;
    LaunchMethod method = LaunchMethod::automatic;  // automatic: a command, no title
    std::optional<PlannedTitle> title;
    /** What to call it in a sentence: "'chocolate-doom'", "Portal 2 (620)". */
    std::string label;

    /** A Steam client inside the session starts the title. */
    bool by_client() const { return method == LaunchMethod::client || method == LaunchMethod::uri; }
    /** That title; null where there is no such client. */
    const PlannedTitle* client_title() const { return by_client() && title ? &*title : nullptr; }
};

/**
 * Looks into the Steam libraries (which blocks for as long as the disks take) and decides; every
 * reason for which it can't work is an error that says what to do.
 */
Result<LaunchPlan> plan_launch(const LaunchSettings& settings,
                               const steam::SteamEnvironment& environment);

}  // namespace stepscope
