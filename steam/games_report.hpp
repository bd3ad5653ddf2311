// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "steam_library.hpp"

namespace stepscope::steam {

/** One title with all that is known of it; ids of 64 bits are strings, as JavaScript needs them. */
nlohmann::json title_json(const SteamTitle& title);

/** {"installations": […], "titles": […], "warnings": […]} */
nlohmann::json libraries_json(std::span<const SteamLibrary> libraries,
                              std::span<const SteamTitle* const> titles);

/** A table with a heading line, aligned in columns; ends with a line feed. */
std::string titles_table(std::span<const SteamTitle* const> titles);

/** Several lines on one title, beginning with its sentence. */
std::string title_details(const SteamTitle& title);

}  // namespace stepscope::steam
