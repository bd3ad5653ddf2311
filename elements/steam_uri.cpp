// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam_uri.hpp"

#include <algorithm>
#include <format>

#include "steam/vdf.hpp"
#include "steam/words.hpp"

namespace stepscope {

Result<SteamUri> parse_steam_uri(std::string_view uri) {
    std::string_view rest = uri;
    bool known = false;
    for (const std::string_view start : {"steam://run/", "steam://rungameid/"}) {
        if (rest.size() >= start.size() &&
            steam::equal_ignoring_case(rest.substr(0, start.size()), start)) {
            rest.remove_prefix(start.size());
            known = true;
            break;
        }
    }
    const size_t end = std::min(rest.find('/'), rest.size());
    const auto id = steam::parse_decimal(rest.substr(0, end));
    if (!known || !id || *id == 0) {
        return fail(Fault::usage,
                    std::format("expected steam://run/ID or steam://rungameid/ID, got '{}'", uri));
    }
    SteamUri result{*id, {}};
    rest.remove_prefix(end);
    if (rest.starts_with("//")) {
        rest.remove_prefix(2);
        rest = rest.substr(0, rest.ends_with('/') ? rest.size() - 1 : rest.size());
        result.arguments = steam::percent_decoded(rest);
    }
    return result;
}

}  // namespace stepscope
