// SPDX-License-Identifier: LGPL-2.1-or-later
#include "library_folders.hpp"

#include <algorithm>
#include <filesystem>

namespace stepscope::steam {
namespace {

namespace fs = std::filesystem;

bool is_directory(const std::string& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

/** The path without links, as far as it exists, and without a trailing slash. */
std::string resolved(const std::string& path) {
    std::error_code error;
    auto real = fs::weakly_canonical(path, error);
    std::string result = error ? path : real.string();
    while (result.size() > 1 && result.ends_with('/')) {
        result.pop_back();
    }
    return result;
}

/** A mount point without its disk is an empty folder, so the folder alone says nothing. */
bool has_titles_folder(const std::string& path) {
    return is_directory(steamapps_directory(path));
}

/**
 * A path as the client sees it. A sandboxed client's home is a folder of ours; it writes paths as
 * seen from within.
 */
std::string outside_path(const std::string& path, const SteamInstallation& installation,
                         const std::string& user_home) {
    if (installation.packaging == Packaging::native || has_titles_folder(path) ||
        !path.starts_with(user_home + "/")) {
        return path;
    }
    std::string mapped = installation.home + path.substr(user_home.size());
    return has_titles_folder(mapped) ? mapped : path;
}

void merge(std::vector<LibraryFolder>& folders, LibraryFolder folder) {
    folder.path = resolved(folder.path);
    auto known = std::ranges::find(folders, folder.path, &LibraryFolder::path);
    if (known == folders.end()) {
        folder.present = has_titles_folder(folder.path);
        folders.push_back(std::move(folder));
        return;
    }
    if (known->label.empty()) {
        known->label = std::move(folder.label);
    }
    for (uint64_t id : folder.app_ids) {
        if (!std::ranges::contains(known->app_ids, id)) {
            known->app_ids.push_back(id);
        }
    }
}

}  // namespace

std::vector<LibraryFolder> read_library_folders(const VdfNode& root) {
    std::vector<LibraryFolder> folders;
    const VdfNode* list = root.find("libraryfolders");
    for (const auto& entry : children_of(list)) {
        if (!parse_decimal(entry.key)) {
            continue;  // "contentstatsid", "TimeNextStatsReport"
        }
        LibraryFolder folder;
        folder.path = entry.is_map() ? entry.string("path") : std::string_view(entry.text);
        folder.label = entry.string("label");
        for (const auto& app : children_of(entry.find("apps"))) {
            if (auto id = parse_decimal(app.key)) {
                folder.app_ids.push_back(*id);
            }
        }
        if (!folder.path.empty()) {
            folders.push_back(std::move(folder));
        }
    }
    return folders;
}

std::vector<LibraryFolder> find_library_folders(const SteamInstallation& installation,
                                                const std::string& user_home,
                                                std::vector<std::string>& warnings) {
    std::vector<LibraryFolder> folders;
    merge(folders, {.path = installation.root});
    std::string steamapps = steamapps_directory(installation.root);
    for (const auto& path :
         {steamapps + "/libraryfolders.vdf", installation.root + "/config/libraryfolders.vdf"}) {
        auto root = load_vdf_text(path);
        if (!root) {
            if (root.error().fault != Fault::not_found) {
                warnings.push_back(root.error().message);
            }
            continue;
        }
        for (auto& folder : read_library_folders(*root)) {
            folder.path = outside_path(folder.path, installation, user_home);
            merge(folders, std::move(folder));
        }
    }
    return folders;
}

}  // namespace stepscope::steam
