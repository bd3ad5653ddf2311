// SPDX-License-Identifier: LGPL-2.1-or-later
#include "title.hpp"

#include <algorithm>
#include <array>
#include <format>

#include "unicode.hpp"

namespace stepscope::steam {
namespace {

std::string lower_case(std::string_view text) {
    std::string result(text);
    std::ranges::transform(result, result.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    return result;
}

Runtime runtime_of_tool(std::string_view tool) {
    std::string name = lower_case(tool);
    if (name.contains("proton")) {
        return Runtime::proton;
    }
    return name.starts_with("steamlinuxruntime") ? Runtime::linux_runtime : Runtime::other_tool;
}

bool has(const AppManifest& manifest, uint32_t flags) {
    return (manifest.state_flags & flags) != 0;
}

bool has_pending_build(const AppManifest& manifest) {
    return manifest.target_build_id != 0 && manifest.build_id != 0 &&
           manifest.target_build_id != manifest.build_id;
}

/** " (build 5 to 6, 1.2 GB of 3.0 GB downloaded)", as far as it is known. */
std::string progress(const AppManifest& manifest) {
    std::string text;
    if (has_pending_build(manifest)) {
        text = std::format("build {} to {}", manifest.build_id, manifest.target_build_id);
    }
    if (manifest.bytes_to_download > 0) {
        text += std::format("{}{} of {} downloaded", text.empty() ? "" : ", ",
                            human_size(manifest.bytes_downloaded),
                            human_size(manifest.bytes_to_download));
    }
    return text.empty() ? text : " (" + text + ")";
}

std::string update_sentence(const SteamTitle& title) {
    const AppManifest& manifest = title.manifest;
    std::string what =
        has(manifest, state_flag::kFullyInstalled) ? "needs an update" : "is only partly installed";
    if (has(manifest, state_flag::kUpdatePaused)) {
        what += ", which is paused";
    }
    return std::format("{} {}{}; let the Steam client finish it", title.label(), what,
                       progress(manifest));
}

}  // namespace

std::string_view to_string(TitleState state) {
    switch (state) {
        case TitleState::installed:
            return "installed";
        case TitleState::running:
            return "running";
        case TitleState::update_required:
            return "update-required";
        case TitleState::updating:
            return "updating";
        case TitleState::validating:
            return "validating";
        case TitleState::uninstalling:
            return "uninstalling";
        case TitleState::files_missing:
            return "files-missing";
        case TitleState::disk_missing:
            return "disk-missing";
        case TitleState::not_installed:
            return "not-installed";
    }
    return "unknown";
}

std::string_view to_string(Runtime runtime) {
    switch (runtime) {
        case Runtime::unknown:
            break;
        case Runtime::native:
            return "native";
        case Runtime::linux_runtime:
            return "linux-runtime";
        case Runtime::proton:
            return "proton";
        case Runtime::other_tool:
            return "other-tool";
    }
    return "unknown";
}

std::string SteamTitle::label() const {
    return name.empty() ? std::format("app {}", app_id)
                        : std::format("{} ({})", printable(name), app_id);
}

TitleState classify(const AppManifest& manifest, const TitleSurroundings& surroundings) {
    using namespace state_flag;
    bool client = surroundings.client_running;
    if (surroundings.title_running || (client && has(manifest, kAppRunning))) {
        return TitleState::running;
    }
    if (has(manifest, kUninstalling)) {
        return TitleState::uninstalling;
    }
    bool in_progress = has(manifest, kUpdateRunning) ||
                       (has(manifest, kUpdateStarted) && !has(manifest, kUpdatePaused));
    if (in_progress && client) {
        return has(manifest, kPhaseValidating) ? TitleState::validating : TitleState::updating;
    }
    if (has(manifest, kMovingFolder) && client) {
        return TitleState::updating;
    }
    if (!has(manifest, kFullyInstalled | kUpdateRequired | kUpdateStarted | kUpdateRunning)) {
        return TitleState::not_installed;
    }
    if (has(manifest, kFilesMissing | kFilesCorrupt) ||
        (has(manifest, kFullyInstalled) && !surroundings.folder_exists)) {
        return TitleState::files_missing;
    }
    bool pending = in_progress || !has(manifest, kFullyInstalled) || has_pending_build(manifest) ||
                   has(manifest, kUpdateRequired | kUpdateQueued | kUpdatePaused);
    return pending ? TitleState::update_required : TitleState::installed;
}

std::string describe(const SteamTitle& title) {
    switch (title.state) {
        case TitleState::installed:
            return title.label() + " is installed";
        case TitleState::running:
            return title.label() + " is running already; close it first";
        case TitleState::update_required:
            return update_sentence(title);
        case TitleState::updating:
            return std::format("{} is being updated{}; wait until the Steam client is done",
                               title.label(), progress(title.manifest));
        case TitleState::validating:
            return title.label() + " has its files validated; wait until the Steam client is done";
        case TitleState::uninstalling:
            return title.label() + " is being uninstalled; install it again in the Steam client";
        case TitleState::files_missing:
            return std::format(
                "{} has files missing or broken in '{}'; verify its files in the "
                "Steam client",
                title.label(), printable(title.install_path));
        case TitleState::disk_missing:
            return std::format("{} is in the library '{}', which isn't there; mount its disk",
                               title.label(), printable(title.library));
        case TitleState::not_installed:
            return title.label() + " is not installed; install it in the Steam client";
    }
    return title.label();
}

void choose_runtime(SteamTitle& title, const CompatTools& tools) {
    auto named = [&](uint64_t id) {
        auto tool = tools.find(id);
        return tool != tools.end() ? tool->second : std::string();
    };
    title.compat_tool = named(title.app_id);
    if (!title.compat_tool.empty()) {
        title.runtime = runtime_of_tool(title.compat_tool);
        return;
    }
    if (!title.shortcut && title.state == TitleState::disk_missing) {
        title.runtime = Runtime::unknown;
        return;
    }
    bool windows = title.shortcut ? lower_case(title.executable).ends_with(".exe")
                                  : title.manifest.windows_files;
    title.runtime = windows ? Runtime::proton : Runtime::native;
    if (windows) {
        title.compat_tool = named(0);
    }
}

std::string human_size(uint64_t bytes) {
    constexpr std::array kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
    constexpr double kStep = 1000;
    if (bytes < 1000) {
        return std::format("{} B", bytes);
    }
    double value = static_cast<double>(bytes) / kStep;
    size_t unit = 0;
    // 999.95 would be shown as 1000.0.
    while (value >= kStep - 0.05 && unit + 1 < kUnits.size()) {
        value /= kStep;
        ++unit;
    }
    return std::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace stepscope::steam
