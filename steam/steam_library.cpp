// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam_library.hpp"

#include <algorithm>
#include <filesystem>
#include <format>
#include <limits>
#include <set>

#include "near_match.hpp"
#include "unicode.hpp"

namespace stepscope::steam {
namespace {

namespace fs = std::filesystem;

/** "Steamworks Common Redistributables": a manifest like a title's, but nothing to start. */
constexpr uint32_t kRedistributables = 228980;

bool exists(const std::string& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

/** Names in a directory; none where it can't be read. */
std::vector<std::string> names_in(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
        names.push_back(entry->path().filename().string());
    }
    std::ranges::sort(names);
    return names;
}

class LibraryReader {
public:
    LibraryReader(const SteamInstallation& installation, const SteamEnvironment& environment)
        : environment_(environment) {
        library_.installation = installation;
    }

    SteamLibrary read() && {
        const std::string& root = library_.installation.root;
        library_.client = detect_client(library_.installation, environment_.proc);
        running_ = running_titles(environment_.proc);
        if (auto users = optional_file(root + "/config/loginusers.vdf", load_vdf_text)) {
            library_.users = read_login_users(*users);
        }
        if (auto config = optional_file(root + "/config/config.vdf", load_vdf_text)) {
            tools_ = read_compat_tools(*config);
        }
        library_.folders =
            find_library_folders(library_.installation, environment_.home, library_.warnings);
        for (const auto& folder : library_.folders) {
            if (folder.present) {
                read_folder(folder);
            }
        }
        for (const auto& folder : library_.folders) {
            if (!folder.present) {
                add_missing(folder);
            }
        }
        for (const auto& account : accounts()) {
            read_account(std::format("{}/userdata/{}/config", root, account));
        }
        std::ranges::stable_sort(library_.titles, {}, &SteamTitle::app_id);
        return std::move(library_);
    }

private:
    std::optional<VdfNode> optional_file(const std::string& path,
                                         Result<VdfNode> (*load)(const std::string&,
                                                                 const VdfLimits&)) {
        auto root = load(path, {});
        if (root) {
            return std::move(*root);
        }
        if (root.error().fault != Fault::not_found) {
            library_.warnings.push_back(root.error().message);
        }
        return std::nullopt;
    }

    void read_folder(const LibraryFolder& folder) {
        std::string steamapps = steamapps_directory(folder.path);
        for (const auto& name : names_in(steamapps)) {
            if (!name.starts_with("appmanifest_") || !name.ends_with(".acf")) {
                continue;
            }
            auto manifest = load_app_manifest(std::format("{}/{}", steamapps, name));
            if (!manifest) {
                library_.warnings.push_back(manifest.error().message);
                continue;
            }
            add_installed(folder, steamapps, std::move(*manifest));
        }
    }

    void add_installed(const LibraryFolder& folder, const std::string& steamapps,
                       AppManifest manifest) {
        SteamTitle title = new_title(static_cast<uint32_t>(manifest.app_id));
        title.name = manifest.name;
        title.library = folder.path;
        title.manifest = std::move(manifest);
        bool folder_exists = false;
        if (!title.manifest.install_dir.empty()) {
            title.install_path = steamapps + "/common/" + title.manifest.install_dir;
            folder_exists = exists(title.install_path);
        }
        // The file that every compatibility tool has, and no title.
        title.tool = title.app_id == kRedistributables ||
                     (folder_exists && exists(title.install_path + "/toolmanifest.vdf"));
        title.state = classify(title.manifest, {
                                                   .folder_exists = folder_exists,
                                                   .title_running = running_.contains(title.app_id),
                                                   .client_running = library_.client.running(),
                                               });
        choose_runtime(title, tools_);
        known_.insert(title.app_id);
        library_.titles.push_back(std::move(title));
    }

    /** Of a library without its disk only the ids are known. */
    void add_missing(const LibraryFolder& folder) {
        for (uint64_t id : folder.app_ids) {
            if (id == 0 || id > std::numeric_limits<uint32_t>::max() || id == kRedistributables ||
                !known_.insert(static_cast<uint32_t>(id)).second) {
                continue;
            }
            SteamTitle title = new_title(static_cast<uint32_t>(id));
            title.library = folder.path;
            title.state = TitleState::disk_missing;
            choose_runtime(title, tools_);
            library_.titles.push_back(std::move(title));
        }
    }

    SteamTitle new_title(uint32_t app_id) const {
        SteamTitle title;
        title.app_id = app_id;
        title.installation = library_.installation.root;
        return title;
    }

    /** The account that the client uses; where that isn't known, all that have data here. */
    std::vector<std::string> accounts() const {
        std::string userdata = library_.installation.root + "/userdata";
        if (!library_.users.empty()) {
            return {std::to_string(library_.users.front().account_id())};
        }
        auto names = names_in(userdata);
        std::erase_if(names, [](const std::string& name) {
            return parse_decimal(name).value_or(0) == 0;  // "0" is nobody's, "anonymous" too
        });
        return names;
    }

    void read_account(const std::string& config) {
        if (auto local = optional_file(config + "/localconfig.vdf", load_vdf_text)) {
            auto options = read_launch_options(*local);
            for (auto& title : library_.titles) {
                auto found = options.find(title.app_id);
                if (found != options.end() && title.launch_options.empty()) {
                    title.launch_options = found->second;
                }
            }
        }
        if (auto file = optional_file(config + "/shortcuts.vdf", load_vdf_binary)) {
            for (auto& shortcut : read_shortcuts(*file)) {
                add_shortcut(std::move(shortcut));
            }
        }
    }

    void add_shortcut(Shortcut shortcut) {
        SteamTitle title = new_title(shortcut.app_id);
        title.shortcut = true;
        title.name = std::move(shortcut.name);
        title.install_path = std::move(shortcut.start_directory);
        title.executable = std::move(shortcut.executable);
        title.launch_options = std::move(shortcut.launch_options);
        // A command without a path is looked up when it starts; only a path can be missing.
        bool missing = title.executable.starts_with('/') && !exists(title.executable);
        title.state = running_.contains(title.app_id) ? TitleState::running
                      : missing                       ? TitleState::files_missing
                                                      : TitleState::installed;
        choose_runtime(title, tools_);
        library_.titles.push_back(std::move(title));
    }

    const SteamEnvironment& environment_;
    SteamLibrary library_;
    CompatTools tools_;
    std::map<uint64_t, pid_t> running_;
    std::set<uint32_t> known_;
};

bool matches(const SteamTitle& title, std::optional<uint64_t> id, const std::u32string& name) {
    if (id) {
        return title.app_id == *id || title.run_game_id() == *id;
    }
    return !name.empty() && comparable_name(title.name) == name;
}

/** The best of those that match; more than one app id among them is ambiguous. */
Result<const SteamTitle*> pick(std::span<const SteamLibrary> libraries, std::string_view wanted,
                               std::optional<uint64_t> id, const std::u32string& name) {
    const SteamTitle* best = nullptr;
    std::set<std::string> labels;
    for (const auto& library : libraries) {
        for (const auto& title : library.titles) {
            if (matches(title, id, name)) {
                labels.insert(title.label());
                bool startable = title.state == TitleState::installed;
                if (best == nullptr || (startable && best->state != TitleState::installed)) {
                    best = &title;
                }
            }
        }
    }
    if (labels.size() < 2) {
        return best;
    }
    std::string list;
    for (const auto& label : labels) {
        list += (list.empty() ? "" : ", ") + label;
    }
    return fail(Fault::usage, std::format("'{}' names several titles: {}; use the app id",
                                          printable(wanted), list));
}

std::string near_titles(std::span<const SteamLibrary> libraries, std::string_view wanted) {
    std::vector<std::string> names;
    std::vector<std::string> labels;
    for (const auto& library : libraries) {
        for (const auto& title : library.titles) {
            std::string label = title.label();
            if (!title.tool && !title.name.empty() && !std::ranges::contains(labels, label)) {
                names.push_back(title.name);
                labels.push_back(std::move(label));
            }
        }
    }
    constexpr size_t kSuggestions = 3;
    std::string list;
    for (size_t index : near_matches(wanted, names, kSuggestions)) {
        list += (list.empty() ? "" : ", ") + labels[index];
    }
    return list;
}

std::string missing_folders(std::span<const SteamLibrary> libraries) {
    std::string list;
    for (const auto& library : libraries) {
        for (const auto& folder : library.folders) {
            if (!folder.present) {
                list += (list.empty() ? "'" : "', '") + printable(folder.path);
            }
        }
    }
    return list.empty() ? list : list + "'";
}

}  // namespace

SteamLibrary load_library(const SteamInstallation& installation,
                          const SteamEnvironment& environment) {
    return LibraryReader(installation, environment).read();
}

Result<std::vector<SteamLibrary>> load_libraries(const SteamEnvironment& environment) {
    auto installations = find_installations(environment);
    if (!installations) {
        return std::unexpected(installations.error());
    }
    std::vector<SteamLibrary> libraries;
    for (const auto& installation : *installations) {
        libraries.push_back(load_library(installation, environment));
    }
    return libraries;
}

Result<const SteamTitle*> find_title(std::span<const SteamLibrary> libraries,
                                     std::string_view wanted) {
    // A number is an id first, but there are titles with nothing but a number for a name.
    if (auto id = parse_decimal(wanted)) {
        auto found = pick(libraries, wanted, id, {});
        if (!found || *found != nullptr) {
            return found;
        }
    }
    auto found = pick(libraries, wanted, std::nullopt, comparable_name(wanted));
    if (!found || *found != nullptr) {
        return found;
    }
    std::string message = std::format("no title '{}' in the Steam libraries", printable(wanted));
    std::string near = near_titles(libraries, wanted);
    if (!near.empty()) {
        message += std::format("; did you mean {}?", near);
    } else {
        message += "; 'stepscope-games' lists what there is";
    }
    std::string missing = missing_folders(libraries);
    if (!missing.empty()) {
        message += std::format(" It may also be in {}, which isn't there; mount its disk", missing);
    }
    return fail(Fault::not_found, message);
}

}  // namespace stepscope::steam
