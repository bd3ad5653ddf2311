// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client.hpp"
#include "installation.hpp"
#include "library_folders.hpp"
#include "title.hpp"

namespace stepscope::steam {

/** All that one Steam installation has, as of one look at it. */
struct SteamLibrary {
    SteamInstallation installation;
    std::vector<LibraryFolder> folders;
    std::vector<SteamUser> users;    // most recent first
    std::vector<SteamTitle> titles;  // by app id
    SteamClient client;
    std::vector<std::string> warnings;  // files that were there and couldn't be read
};

/**
 * Reads an installation. A broken file becomes a warning and costs no more than what it says. Only
 * reads, and blocks for as long as the disks take.
 */
SteamLibrary load_library(const SteamInstallation& installation,
                          const SteamEnvironment& environment);

/** Every installation of this person; an error only where there is none. */
Result<std::vector<SteamLibrary>> load_libraries(const SteamEnvironment& environment);

/**
 * The title that `wanted` names: an app id, a 64-bit game id, or a name without regard to case,
 * spaces and punctuation. Where several installations have it, one that can be started. Otherwise
 * an error (not_found) with near matches, or (usage) if several titles share the name.
 */
Result<const SteamTitle*> find_title(std::span<const SteamLibrary> libraries,
                                     std::string_view wanted);

}  // namespace stepscope::steam
