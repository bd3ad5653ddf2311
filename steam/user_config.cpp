// SPDX-License-Identifier: LGPL-2.1-or-later
#include "user_config.hpp"

#include <algorithm>
#include <tuple>

namespace stepscope::steam {
namespace {

/** config.vdf and localconfig.vdf have their settings below this; its case varies. */
const VdfNode* steam_settings(const VdfNode& root, std::string_view store) {
    return root.find({store, "Software", "Valve", "Steam"});
}

uint32_t crc32(std::string_view bytes, uint32_t crc) {
    constexpr uint32_t kReversedPolynomial = 0xedb88320;
    for (char c : bytes) {
        crc ^= static_cast<uint8_t>(c);
        for (int bit = 0; bit < 8; ++bit) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? kReversedPolynomial : 0);
        }
    }
    return crc;
}

std::string without_quotes(std::string_view text) {
    if (text.size() >= 2 && text.starts_with('"') && text.ends_with('"')) {
        text = text.substr(1, text.size() - 2);
    }
    return std::string(text);
}

void add_compat_tools(const VdfNode* mapping, CompatTools& tools) {
    for (const auto& entry : children_of(mapping)) {
        auto id = parse_decimal(entry.key);
        if (id && entry.is_map()) {
            tools.emplace(*id, entry.string("name"));
        }
    }
}

}  // namespace

std::vector<SteamUser> read_login_users(const VdfNode& root) {
    std::vector<SteamUser> users;
    const VdfNode* list = root.find("users");
    for (const auto& entry : children_of(list)) {
        auto id = parse_decimal(entry.key);
        if (!id || !entry.is_map()) {
            continue;
        }
        users.push_back({
            .steam_id = *id,
            .account_name = std::string(entry.string("AccountName")),
            .persona_name = std::string(entry.string("PersonaName")),
            .most_recent = entry.flag("MostRecent"),
            .remembers_login = entry.flag("RememberPassword") || entry.flag("AllowAutoLogin"),
            .wants_offline = entry.flag("WantsOfflineMode"),
            .last_login = static_cast<int64_t>(entry.number("Timestamp").value_or(0)),
        });
    }
    std::ranges::stable_sort(users, std::greater(), [](const SteamUser& user) {
        return std::tuple(user.most_recent, user.last_login);
    });
    for (size_t i = 0; i < users.size(); ++i) {
        users[i].most_recent = i == 0;
    }
    return users;
}

CompatTools read_compat_tools(const VdfNode& root) {
    CompatTools tools;
    if (const VdfNode* settings = steam_settings(root, "InstallConfigStore")) {
        add_compat_tools(settings->find("CompatToolMapping"), tools);
        // Name of the section in the first clients that had one.
        add_compat_tools(settings->find("ToolMapping"), tools);
    }
    return tools;
}

std::map<uint64_t, std::string> read_launch_options(const VdfNode& root) {
    std::map<uint64_t, std::string> options;
    const VdfNode* settings = steam_settings(root, "UserLocalConfigStore");
    const VdfNode* apps = settings != nullptr ? settings->find("apps") : nullptr;
    for (const auto& entry : children_of(apps)) {
        auto id = parse_decimal(entry.key);
        auto text = entry.string("LaunchOptions");
        if (id && !text.empty()) {
            options.emplace(*id, text);
        }
    }
    return options;
}

std::vector<Shortcut> read_shortcuts(const VdfNode& root) {
    std::vector<Shortcut> shortcuts;
    const VdfNode* list = root.find("shortcuts");
    for (const auto& entry : children_of(list)) {
        if (!entry.is_map()) {
            continue;
        }
        std::string_view executable = entry.string("Exe");
        Shortcut shortcut{
            .app_id = static_cast<uint32_t>(entry.number("appid").value_or(0)),
            .name = std::string(entry.string("AppName")),
            .executable = without_quotes(executable),
            .start_directory = without_quotes(entry.string("StartDir")),
            .launch_options = std::string(entry.string("LaunchOptions")),
            .hidden = entry.flag("IsHidden"),
        };
        if (shortcut.app_id == 0) {  // an older client wrote none
            shortcut.app_id = shortcut_app_id(executable, shortcut.name);
        }
        shortcuts.push_back(std::move(shortcut));
    }
    return shortcuts;
}

uint64_t run_game_id(uint32_t app_id, bool shortcut) {
    constexpr uint64_t kShortcutType = 0x02000000;
    return shortcut ? uint64_t{app_id} << 32 | kShortcutType : app_id;
}

uint32_t shortcut_app_id(std::string_view executable_as_written, std::string_view name) {
    uint32_t crc = crc32(name, crc32(executable_as_written, ~uint32_t{0}));
    return ~crc | uint32_t{1} << 31;
}

}  // namespace stepscope::steam
