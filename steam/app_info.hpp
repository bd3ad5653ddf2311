// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace stepscope::steam {

/** One way to start a title, as its publisher configured it. Paths are relative to its folder. */
struct LaunchEntry {
    std::string executable;
    std::string arguments;
    std::string working_directory;
    std::string type;      // "default", "none", "option1", "editor", "server", …
    std::string systems;   // "windows", "linux", "macos", separated by commas; empty: any
    std::string bits;      // "32", "64"; empty: any
    std::string beta_key;  // only for this beta branch
};

/**
 * The launch entries of one title in appcache/appinfo.vdf, versions 27 to 29 (Valve does not
 * document it; the layout is SteamDatabase's). Bytes are untrusted. No such title is an error
 * (not_found).
 */
Result<std::vector<LaunchEntry>> read_launch_entries(std::string_view file, uint32_t app_id);

/** Reads the file, 512 MiB at most; errors begin with its path. */
Result<std::vector<LaunchEntry>> load_launch_entries(const std::string& path, uint32_t app_id);

/**
 * The entry that a plain start means on `system` ("linux", "windows"): the first default one, else
 * the first that is no tool; 64 bits before 32. Nothing where there is none.
 */
std::optional<LaunchEntry> default_entry(const std::vector<LaunchEntry>& entries,
                                         std::string_view system);

}  // namespace stepscope::steam
