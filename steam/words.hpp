// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace stepscope::steam {

/**
 * A command line in words, as a shell splits it: at white space, with '…', "…" and \ to quote.
 * Nothing is expanded. An open quote is an error (usage).
 */
Result<std::vector<std::string>> split_words(std::string_view text);

/** The words in one line, quoted where that is needed, for people. */
std::string join_words(const std::vector<std::string>& words);

/** A variable and its value; `unset` ones are to be removed. */
struct EnvironmentChange {
    std::string name;
    std::string value;
    bool unset = false;

    bool operator==(const EnvironmentChange&) const = default;
};

/** "NAME=value NAME2='a b' -NAME3" in words as above; -NAME removes. */
Result<std::vector<EnvironmentChange>> parse_environment(std::string_view text);

/** %XX as in URIs; anything else stays. */
std::string percent_decoded(std::string_view text);

}  // namespace stepscope::steam
