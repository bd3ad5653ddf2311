// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "app_manifest.hpp"
#include "user_config.hpp"

namespace stepscope::steam {

/** What stands between a title and its start. Only `installed` can be started at once. */
enum class TitleState {
    installed,
    running,
    update_required,  // also: its first download is unfinished and nobody works on it
    updating,
    validating,
    uninstalling,
    files_missing,
    disk_missing,  // the library's folder isn't there
    not_installed,
};

/** kebab-case, as in JSON and on the command line. */
std::string_view to_string(TitleState state);

enum class Runtime {
    unknown,  // its files can't be looked at
    native,
    linux_runtime,  // native, in a Steam Linux Runtime container that a person chose
    proton,
    other_tool,
};

std::string_view to_string(Runtime runtime);

/** Something that the client can start. */
struct SteamTitle {
    uint32_t app_id = 0;
    bool shortcut = false;  // a non-Steam title
    bool tool = false;      // Proton, a runtime, redistributables: nothing to play
    std::string name;       // empty where only the id is known, as on a missing disk
    TitleState state = TitleState::not_installed;
    std::string installation;  // root of the client that has it
    std::string library;       // path of its library folder; empty for a shortcut
    std::string install_path;  // its folder; a shortcut's start directory
    AppManifest manifest;      // empty for a shortcut and on a missing disk
    Runtime runtime = Runtime::unknown;
    std::string compat_tool;  // the tool's internal name; empty where the client picks it
    std::string launch_options;
    std::string executable;  // a shortcut's

    /** What steam://rungameid/ takes. */
    uint64_t run_game_id() const { return steam::run_game_id(app_id, shortcut); }
    /** "Portal 2 (620)" */
    std::string label() const;
};

/** What the manifest alone doesn't tell. */
struct TitleSurroundings {
    bool folder_exists = true;
    bool title_running = false;   // its process is there
    bool client_running = false;  // without it no update makes progress
};

TitleState classify(const AppManifest& manifest, const TitleSurroundings& surroundings);

/** One sentence for a person: how the title is, and what to do where it can't be started. */
std::string describe(const SteamTitle& title);

/**
 * What the title will run with: the tool that a person chose for it, or Proton where the client
 * installed Windows' files (the default tool then, if there is one), or nothing.
 */
void choose_runtime(SteamTitle& title, const CompatTools& tools);

/** "1.5 GB"; decimal, as the client shows it. */
std::string human_size(uint64_t bytes);

}  // namespace stepscope::steam
