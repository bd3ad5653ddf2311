// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <string>
#include <vector>

#include "steam_library.hpp"

/** Proton and the Steam Linux Runtimes, as a client puts them in front of a title's command. */
namespace stepscope::steam {

/**
 * The folder of a tool by its internal name ("proton_9", "GE-Proton9-20",
 * "steamlinuxruntime_sniper"): those in compatibilitytools.d say their name; Valve's own don't, so
 * theirs is told from their title's. An empty name is the newest stable Proton. An error
 * (not_found) where it isn't installed.
 */
Result<std::string> find_compat_tool(std::span<const SteamLibrary> libraries,
                                     const std::string& name);

/**
 * The words that go in front of a command, from the tool's toolmanifest.vdf and those of the tools
 * that it needs, outermost first.
 */
Result<std::vector<std::string>> compat_tool_words(std::span<const SteamLibrary> libraries,
                                                   const std::string& tool_directory);

}  // namespace stepscope::steam
