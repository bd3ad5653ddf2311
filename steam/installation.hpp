// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace stepscope::steam {

/** Where to look. Tests point it at a fixture. */
struct SteamEnvironment {
    std::string home;
    std::string data_home;  // $XDG_DATA_HOME, or home + "/.local/share"
    std::string root;       // looked at alone where not empty
    std::string proc = "/proc";

    /** From $HOME (or the user database), $XDG_DATA_HOME and $STEPSCOPE_STEAM_ROOT. */
    static SteamEnvironment from_process();
};

enum class Packaging { native, flatpak, snap };

std::string_view to_string(Packaging packaging);

/** A Steam client with its data; several packagings can be installed side by side. */
struct SteamInstallation {
    std::string root;  // real path: holds steamapps/, config/ and userdata/
    Packaging packaging = Packaging::native;
    std::string home;  // the client's $HOME as we see it; its .steam/ has the pid file and the FIFO
};

/**
 * Every installation, native ones first, each once however many links lead to it. None is an error
 * (not_found) that lists where it looked.
 */
Result<std::vector<SteamInstallation>> find_installations(const SteamEnvironment& environment);

/** `root`/steamapps, or an older client's `root`/SteamApps where that is the one; may be missing.
 */
std::string steamapps_directory(const std::string& root);

}  // namespace stepscope::steam
