// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_command.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <format>

#include "app_info.hpp"
#include "compat_tool.hpp"
#include "unicode.hpp"

namespace stepscope::steam {
namespace {

namespace fs = std::filesystem;

std::string find_in_path(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin:/usr/games";
    while (!rest.empty()) {
        const size_t colon = std::min(rest.find(':'), rest.size());
        std::string candidate(rest.substr(0, colon));
        candidate += "/" + program;
        if (::access(candidate.c_str(), X_OK) == 0 && !fs::is_directory(candidate)) {
            return candidate;
        }
        rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
    return {};
}

Result<std::vector<std::string>> client_program(const SteamInstallation& installation) {
    switch (installation.packaging) {
        case Packaging::flatpak:
            return std::vector<std::string>{"flatpak", "run", "com.valvesoftware.Steam"};
        case Packaging::snap:
            return std::vector<std::string>{"snap", "run", "steam"};
        case Packaging::native:
            break;
    }
    if (std::string found = find_in_path("steam"); !found.empty()) {
        return std::vector<std::string>{found};
    }
    const std::string script = installation.root + "/steam.sh";
    if (::access(script.c_str(), X_OK) == 0) {
        return std::vector<std::string>{script};
    }
    return fail(Fault::not_found,
                std::format("there is a Steam library in '{}' but no program 'steam' in PATH and "
                            "no steam.sh in it; install the Steam client, or use "
                            "launch-method=direct",
                            installation.root));
}

/** A path that the publisher gave, below the title's folder. */
Result<std::string> below(const SteamTitle& title, const std::string& relative) {
    const fs::path path = (fs::path(title.install_path) / relative).lexically_normal();
    const fs::path inside = path.lexically_relative(title.install_path);
    if (fs::path(relative).is_absolute() || inside.empty() || *inside.begin() == "..") {
        return fail(Fault::protocol, std::format("{} would start '{}', which is outside its folder",
                                                 title.label(), printable(relative)));
    }
    return path.string();
}

Result<LaunchCommand> own_executable(const SteamTitle& title) {
    LaunchCommand launch;
    if (title.shortcut) {
        launch.words = {title.executable};
        launch.working_directory = title.install_path;
        return launch;
    }
    const bool windows = title.runtime == Runtime::proton;
    auto entries = load_launch_entries(title.installation + "/appcache/appinfo.vdf", title.app_id);
    if (!entries) {
        return fail(entries.error().fault,
                    std::format("launch-method=direct needs to know what {} starts: {}; use "
                                "launch-method=client",
                                title.label(), entries.error().message));
    }
    const auto entry = default_entry(*entries, windows ? "windows" : "linux");
    if (!entry) {
        return fail(Fault::unsupported,
                    std::format("{} has nothing to start on {} ({} launch entries for others); use "
                                "launch-method=client",
                                title.label(), windows ? "Windows" : "Linux", entries->size()));
    }
    auto executable = below(title, entry->executable);
    if (!executable) {
        return std::unexpected(executable.error());
    }
    if (::access(executable->c_str(), windows ? R_OK : X_OK) != 0) {
        return fail_errno(std::format("{} should start '{}'; verify its files in the Steam client",
                                      title.label(), *executable));
    }
    auto directory = below(title, entry->working_directory);
    if (!directory) {
        return std::unexpected(directory.error());
    }
    launch.words = {*executable};
    auto arguments = split_words(entry->arguments);
    if (arguments) {
        launch.words.insert(launch.words.end(), arguments->begin(), arguments->end());
    }
    launch.working_directory = *directory;
    return launch;
}

void add_tool_environment(LaunchCommand& launch, const SteamTitle& title, const std::string& tool) {
    const std::string id = std::to_string(title.app_id);
    const std::string data = steamapps_directory(title.library) + "/compatdata/" + id;
    std::error_code ignored;
    fs::create_directories(data, ignored);
    for (const auto& [name, value] :
         {std::pair{"STEAM_COMPAT_DATA_PATH", data},
          {"STEAM_COMPAT_CLIENT_INSTALL_PATH", title.installation},
          {"STEAM_COMPAT_INSTALL_PATH", title.install_path},
          {"STEAM_COMPAT_APP_ID", id},
          {"STEAM_COMPAT_LIBRARY_PATHS", steamapps_directory(title.library)},
          {"STEAM_COMPAT_TOOL_PATHS", tool}}) {
        launch.environment.push_back({name, value});
    }
}

}  // namespace

Result<LaunchCommand> client_launch(const SteamInstallation& installation, const SteamTitle& title,
                                    const std::vector<std::string>& arguments, bool by_uri) {
    auto program = client_program(installation);
    if (!program) {
        return std::unexpected(program.error());
    }
    LaunchCommand launch{.words = std::move(*program)};
    launch.words.emplace_back("-silent");
    if (by_uri || title.shortcut) {
        if (!arguments.empty()) {
            return fail(Fault::usage,
                        std::format("args can't be passed by steam://rungameid/ ({}); use "
                                    "launch-method=client or direct, or the title's launch options",
                                    title.label()));
        }
        launch.words.push_back(std::format("steam://rungameid/{}", title.run_game_id()));
        return launch;
    }
    launch.words.insert(launch.words.end(), {"-applaunch", std::to_string(title.app_id)});
    launch.words.insert(launch.words.end(), arguments.begin(), arguments.end());
    return launch;
}

Result<LaunchCommand> direct_launch(std::span<const SteamLibrary> libraries,
                                    const SteamTitle& title,
                                    const std::vector<std::string>& arguments) {
    auto launch = own_executable(title);
    if (!launch) {
        return launch;
    }
    launch->words.insert(launch->words.end(), arguments.begin(), arguments.end());
    if (title.runtime == Runtime::proton || !title.compat_tool.empty()) {
        auto tool = find_compat_tool(libraries, title.compat_tool);
        if (!tool) {
            return fail(tool.error().fault, title.label() + ": " + tool.error().message);
        }
        auto words = compat_tool_words(libraries, *tool);
        if (!words) {
            return std::unexpected(words.error());
        }
        launch->words.insert(launch->words.begin(), words->begin(), words->end());
        add_tool_environment(*launch, title, *tool);
    }
    auto wrapped = with_launch_options(std::move(launch->words), title.launch_options);
    if (!wrapped) {
        return fail(wrapped.error().fault, std::format("{}: in its launch options: {}",
                                                       title.label(), wrapped.error().message));
    }
    launch->words = std::move(*wrapped);
    // What the library of Steam's API reads instead of asking who started the title.
    launch->environment.push_back({"SteamAppId", std::to_string(title.app_id)});
    launch->environment.push_back({"SteamGameId", std::to_string(title.run_game_id())});
    return launch;
}

Result<std::vector<std::string>> with_launch_options(std::vector<std::string> command,
                                                     const std::string& options) {
    constexpr std::string_view kCommand = "%command%";
    const size_t at = options.find(kCommand);
    if (at == std::string::npos) {
        auto words = split_words(options);
        if (!words) {
            return std::unexpected(words.error());
        }
        command.insert(command.end(), words->begin(), words->end());
        return command;
    }
    // The client has a shell do it, too: variables in front, quotes, and all that people write.
    std::string script = options;
    script.replace(at, kCommand.size(), "\"$@\"");
    std::vector<std::string> words{"/bin/sh", "-c", std::move(script), "sh"};
    words.insert(words.end(), command.begin(), command.end());
    return words;
}

std::string without_overlay(std::string_view preload) {
    std::string kept;
    size_t start = 0;
    while (start < preload.size()) {
        const size_t end = std::min(preload.find_first_of(": ", start), preload.size());
        const std::string_view library = preload.substr(start, end - start);
        if (!library.empty() && !library.contains("gameoverlayrenderer")) {
            kept += (kept.empty() ? "" : ":") + std::string(library);
        }
        start = end + 1;
    }
    return kept;
}

}  // namespace stepscope::steam
