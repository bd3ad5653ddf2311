// SPDX-License-Identifier: LGPL-2.1-or-later
#include "games_report.hpp"

#include <array>
#include <chrono>
#include <format>
#include <nlohmann/json.hpp>

#include "unicode.hpp"

namespace stepscope::steam {
namespace {

using nlohmann::json;

/** "proton (proton_9)", "native" */
std::string runs_with(const SteamTitle& title) {
    if (title.runtime == Runtime::unknown) {
        return "-";
    }
    std::string text(to_string(title.runtime));
    if (!title.compat_tool.empty()) {
        text += std::format(" ({})", printable(title.compat_tool));
    }
    return text;
}

json client_json(const SteamClient& client) {
    json result = {{"running", client.running()}, {"accepts-commands", client.accepts_commands}};
    if (client.pid > 0) {
        result["pid"] = client.pid;
    }
    if (client.logged_on) {
        result["logged-on"] = *client.logged_on;
    }
    return result;
}

/** Account names are left out: this may end up in a recording's metadata or a bug report. */
json installation_json(const SteamLibrary& library) {
    json folders = json::array();
    for (const auto& folder : library.folders) {
        folders.push_back(
            {{"path", folder.path}, {"label", folder.label}, {"present", folder.present}});
    }
    return {
        {"root", library.installation.root},
        {"packaging", to_string(library.installation.packaging)},
        {"client", client_json(library.client)},
        {"known-accounts", library.users.size()},
        {"remembers-login", !library.users.empty() && library.users.front().remembers_login},
        {"folders", folders},
    };
}

std::string date(int64_t seconds) {
    auto day = std::chrono::floor<std::chrono::days>(
        std::chrono::sys_seconds(std::chrono::seconds(seconds)));
    return std::format("{:%F}", day);
}

using Row = std::array<std::string, 7>;

Row row_of(const SteamTitle& title) {
    const AppManifest& manifest = title.manifest;
    return {
        std::to_string(title.app_id),
        title.name.empty() ? "?" : printable(title.name),
        std::string(to_string(title.state)),
        manifest.build_id > 0 ? std::to_string(manifest.build_id) : "-",
        manifest.size_on_disk > 0 ? human_size(manifest.size_on_disk) : "-",
        runs_with(title),
        title.shortcut ? "(shortcut)" : printable(title.library),
    };
}

}  // namespace

json title_json(const SteamTitle& title) {
    const AppManifest& manifest = title.manifest;
    json result = {
        {"app-id", title.app_id},
        {"run-game-id", std::to_string(title.run_game_id())},
        {"name", title.name},
        {"kind", title.shortcut ? "shortcut"
                 : title.tool   ? "tool"
                                : "title"},
        {"state", to_string(title.state)},
        {"description", describe(title)},
        {"installation", title.installation},
        {"install-path", title.install_path},
        {"runtime", to_string(title.runtime)},
        {"compat-tool", title.compat_tool},
        {"launch-options", title.launch_options},
    };
    if (title.shortcut) {
        result["executable"] = title.executable;
        return result;
    }
    result["library"] = title.library;
    if (manifest.app_id == 0) {
        return result;
    }
    result["state-flags"] = {{"value", manifest.state_flags},
                             {"names", state_flag_names(manifest.state_flags)}};
    result["build-id"] = std::to_string(manifest.build_id);
    if (manifest.target_build_id != 0) {
        result["target-build-id"] = std::to_string(manifest.target_build_id);
    }
    result["size-on-disk"] = manifest.size_on_disk;
    result["bytes-to-download"] = manifest.bytes_to_download;
    result["bytes-downloaded"] = manifest.bytes_downloaded;
    result["last-updated"] = manifest.last_updated;
    return result;
}

json libraries_json(std::span<const SteamLibrary> libraries,
                    std::span<const SteamTitle* const> titles) {
    json result = {
        {"installations", json::array()}, {"titles", json::array()}, {"warnings", json::array()}};
    for (const auto& library : libraries) {
        result["installations"].push_back(installation_json(library));
        for (const auto& warning : library.warnings) {
            result["warnings"].push_back(warning);
        }
    }
    for (const auto* title : titles) {
        result["titles"].push_back(title_json(*title));
    }
    return result;
}

std::string titles_table(std::span<const SteamTitle* const> titles) {
    std::vector<Row> rows = {{"APP ID", "NAME", "STATE", "BUILD", "SIZE", "RUNS WITH", "LIBRARY"}};
    for (const auto* title : titles) {
        rows.push_back(row_of(*title));
    }
    std::array<size_t, std::tuple_size_v<Row>> widths{};
    for (const auto& row : rows) {
        for (size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], display_width(row[i]));
        }
    }
    constexpr std::array kRightAligned = {true, false, false, true, true, false, false};
    std::string table;
    for (const auto& row : rows) {
        std::string line;
        for (size_t i = 0; i < row.size(); ++i) {
            std::string padding(widths[i] - display_width(row[i]), ' ');
            line += kRightAligned[i] ? padding + row[i] : row[i] + padding;
            line += "  ";
        }
        line.erase(line.find_last_not_of(' ') + 1);
        table += line + "\n";
    }
    return table;
}

std::string title_details(const SteamTitle& title) {
    const AppManifest& manifest = title.manifest;
    std::string text = describe(title) + "\n";
    auto line = [&](std::string_view name, const std::string& value) {
        if (!value.empty()) {
            text += std::format("  {:<15} {}\n", name, value);
        }
    };
    line("start with", std::format("steam://rungameid/{}", title.run_game_id()));
    line("folder", printable(title.install_path));
    line("executable", printable(title.executable));
    line("runs with", runs_with(title));
    line("launch options", printable(title.launch_options));
    if (manifest.app_id != 0) {
        line("build", std::to_string(manifest.build_id));
        line("size", human_size(manifest.size_on_disk));
        line("last updated", manifest.last_updated > 0 ? date(manifest.last_updated) : "");
        std::string flags;
        for (const auto& name : state_flag_names(manifest.state_flags)) {
            flags += (flags.empty() ? "" : ", ") + name;
        }
        line("state flags", std::format("{} ({})", manifest.state_flags, flags));
    }
    return text;
}

}  // namespace stepscope::steam
