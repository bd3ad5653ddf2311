// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vdf.hpp"

/** What a person has set in the client: accounts, launch options, tools, shortcuts. */
namespace stepscope::steam {

/** An account that has logged in here (config/loginusers.vdf). */
struct SteamUser {
    uint64_t steam_id = 0;
    std::string account_name;
    std::string persona_name;
    bool most_recent = false;      // who the client logs in as; at most one of a list
    bool remembers_login = false;  // the client can log in without asking for the password
    bool wants_offline = false;
    int64_t last_login = 0;  // seconds since 1970

    /** Name of the account's folder in userdata/. */
    uint32_t account_id() const { return static_cast<uint32_t>(steam_id); }
};

/** Most recent first. Where no entry is marked, the latest login is the most recent. */
std::vector<SteamUser> read_login_users(const VdfNode& root);

/** Compatibility tools (config/config.vdf) by app id, "" for "none"; 0 is the default. */
using CompatTools = std::map<uint64_t, std::string>;
CompatTools read_compat_tools(const VdfNode& root);

/** Launch options by app id (userdata/<account>/config/localconfig.vdf), without empty ones. */
std::map<uint64_t, std::string> read_launch_options(const VdfNode& root);

/** A non-Steam title that a person has added (userdata/<account>/config/shortcuts.vdf). */
struct Shortcut {
    uint32_t app_id = 0;
    std::string name;
    std::string executable;  // without the quotes that the client puts around it
    std::string start_directory;
    std::string launch_options;
    bool hidden = false;
};

std::vector<Shortcut> read_shortcuts(const VdfNode& root);

/** What steam://rungameid/ takes: the app id itself, or a shortcut's id with its type. */
uint64_t run_game_id(uint32_t app_id, bool shortcut);

/** The id that the client gives a shortcut by default: CRC-32 of quoted executable and name. */
uint32_t shortcut_app_id(std::string_view executable_as_written, std::string_view name);

}  // namespace stepscope::steam
