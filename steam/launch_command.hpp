// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <string>
#include <vector>

#include "steam_library.hpp"
#include "words.hpp"

namespace stepscope::steam {

/** What to execute, and where, and with which changes to our own environment. */
struct LaunchCommand {
    std::vector<std::string> words;
    std::string working_directory;  // empty: our own
    std::vector<EnvironmentChange> environment;
};

/**
 * Asks the client for a title: `steam -silent -applaunch ID`, or with `by_uri` (and for shortcuts
 * always) `steam -silent steam://rungameid/ID`. The program is the `steam` in PATH, else the
 * installation's steam.sh; Flatpak's and Snap's are run by theirs. An error (not_found) where there
 * is none; (usage) for arguments that can't be passed on.
 */
Result<LaunchCommand> client_launch(const SteamInstallation& installation, const SteamTitle& title,
                                    const std::vector<std::string>& arguments, bool by_uri);

/**
 * The title's own executable, without the client: what appinfo.vdf says for the system (a shortcut:
 * its executable), in front of it the runtime or Proton that it is set to, around it its launch
 * options. Titles that insist on a client or its DRM will end or start it themselves.
 */
Result<LaunchCommand> direct_launch(std::span<const SteamLibrary> libraries,
                                    const SteamTitle& title,
                                    const std::vector<std::string>& arguments);

/** `options` as a person wrote them for the client, around a command: "A=b wrapper %command% -x".
 */
Result<std::vector<std::string>> with_launch_options(std::vector<std::string> command,
                                                     const std::string& options);

/** LD_PRELOAD without the Steam overlay's libraries. */
std::string without_overlay(std::string_view preload);

}  // namespace stepscope::steam
