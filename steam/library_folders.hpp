// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "installation.hpp"
#include "vdf.hpp"

namespace stepscope::steam {

/** A folder with titles: the installation's own, and those that a person added on other disks. */
struct LibraryFolder {
    std::string path;
    std::string label;
    std::vector<uint64_t> app_ids;  // as the client lists them; old clients list none
    bool present = false;           // has a steamapps folder: false where its disk is missing
};

/** Entries of libraryfolders.vdf in both formats ("1" "path"; "1" { "path" … "apps" { … } }). */
std::vector<LibraryFolder> read_library_folders(const VdfNode& root);

/**
 * The installation's own folder first, then the added ones, each once. Files that can't be read
 * add to `warnings`.
 */
std::vector<LibraryFolder> find_library_folders(const SteamInstallation& installation,
                                                const std::string& user_home,
                                                std::vector<std::string>& warnings);

}  // namespace stepscope::steam
