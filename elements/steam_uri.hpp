// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace stepscope {

/** What a steam:// address asks for. */
struct SteamUri {
    uint64_t app_id = 0;  // or a 64-bit game id
    std::string arguments;

    bool operator==(const SteamUri&) const = default;
};

/**
 * steam://run/ID, steam://rungameid/ID, and steam://run/ID//ARGUMENTS/ with %XX in the arguments.
 * Anything else is an error (usage).
 */
Result<SteamUri> parse_steam_uri(std::string_view uri);

}  // namespace stepscope
