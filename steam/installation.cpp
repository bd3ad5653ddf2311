// SPDX-License-Identifier: LGPL-2.1-or-later
#include "installation.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <format>

namespace stepscope::steam {
namespace {

namespace fs = std::filesystem;

struct Candidate {
    std::string path;
    Packaging packaging;
    std::string home;
};

std::string environment_variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

std::vector<Candidate> candidates(const SteamEnvironment& environment) {
    const std::string& home = environment.home;
    std::string flatpak = home + "/.var/app/com.valvesoftware.Steam";
    std::string snap = home + "/snap/steam/common";
    return {
        {home + "/.steam/root", Packaging::native, home},
        {home + "/.steam/steam", Packaging::native, home},
        {environment.data_home + "/Steam", Packaging::native, home},
        {home + "/.local/share/Steam", Packaging::native, home},
        {home + "/.steam/debian-installation", Packaging::native, home},
        {flatpak + "/.steam/root", Packaging::flatpak, flatpak},
        {flatpak + "/.local/share/Steam", Packaging::flatpak, flatpak},
        {flatpak + "/data/Steam", Packaging::flatpak, flatpak},
        {snap + "/.steam/root", Packaging::snap, snap},
        {snap + "/.local/share/Steam", Packaging::snap, snap},
    };
}

bool is_directory(const std::string& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

/** A folder that a client has used, or at least unpacked itself into. */
bool looks_like_steam(const std::string& path) {
    constexpr std::array kMarks = {"steamapps", "SteamApps", "config", "userdata", "ubuntu12_32"};
    return std::ranges::any_of(kMarks,
                               [&](const char* mark) { return is_directory(path + "/" + mark); });
}

/** Empty where the path leads nowhere, as a link into an unmounted disk does. */
std::string real_path(const std::string& path) {
    std::error_code error;
    auto real = fs::canonical(path, error);
    return error ? std::string() : real.string();
}

std::vector<SteamInstallation> present(const std::vector<Candidate>& candidates) {
    std::vector<SteamInstallation> found;
    for (const auto& candidate : candidates) {
        std::string root = real_path(candidate.path);
        bool known = std::ranges::contains(found, root, &SteamInstallation::root);
        if (!root.empty() && !known && looks_like_steam(root)) {
            found.push_back({root, candidate.packaging, candidate.home});
        }
    }
    return found;
}

}  // namespace

SteamEnvironment SteamEnvironment::from_process() {
    SteamEnvironment environment;
    environment.home = environment_variable("HOME");
    if (environment.home.empty()) {
        const passwd* user = ::getpwuid(::getuid());
        environment.home = user != nullptr ? user->pw_dir : "/";
    }
    environment.data_home = environment_variable("XDG_DATA_HOME");
    if (environment.data_home.empty()) {
        environment.data_home = environment.home + "/.local/share";
    }
    environment.root = environment_variable("STEPSCOPE_STEAM_ROOT");
    return environment;
}

std::string_view to_string(Packaging packaging) {
    switch (packaging) {
        case Packaging::native:
            return "native";
        case Packaging::flatpak:
            return "flatpak";
        case Packaging::snap:
            return "snap";
    }
    return "unknown";
}

Result<std::vector<SteamInstallation>> find_installations(const SteamEnvironment& environment) {
    auto places = candidates(environment);
    auto found = present(places);
    if (environment.root.empty()) {
        if (!found.empty()) {
            return found;
        }
        std::string looked;
        for (const auto& place : places) {
            looked += (looked.empty() ? "" : ", ") + place.path;
        }
        return fail(Fault::not_found,
                    std::format("no Steam installation found; looked at {}; start Steam once, or "
                                "name its folder with STEPSCOPE_STEAM_ROOT",
                                looked));
    }
    std::string root = real_path(environment.root);
    if (root.empty() || !looks_like_steam(root)) {
        return fail(Fault::not_found,
                    std::format("expected a Steam installation (a folder with steamapps, config or "
                                "userdata in it) at '{}', {}; name the folder that holds steamapps",
                                environment.root,
                                root.empty() ? "got nothing there" : "got a folder without them"));
    }
    // A named folder that is also one of the usual places keeps its packaging and its home.
    auto usual = std::ranges::find(found, root, &SteamInstallation::root);
    if (usual != found.end()) {
        return std::vector{*usual};
    }
    return std::vector<SteamInstallation>{{root, Packaging::native, environment.home}};
}

std::string steamapps_directory(const std::string& root) {
    std::string old = root + "/SteamApps";
    std::string current = root + "/steamapps";
    return !is_directory(current) && is_directory(old) ? old : current;
}

}  // namespace stepscope::steam
