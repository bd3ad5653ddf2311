// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace stepscope::steam {

/**
 * A name as it is compared: letters and digits in small letters, everything else (spaces,
 * punctuation, trade marks) gone, so that "half life 2" is "Half-Life® 2".
 */
std::u32string comparable_name(std::string_view name);

/** Insertions, deletions, replacements and swaps of neighbours that turn one into the other. */
size_t edit_distance(std::u32string_view left, std::u32string_view right);

/**
 * Indices of the names that a person may have meant, best first, at most `count`: those that begin
 * with what was typed, that contain it, and that differ in few letters. Empty if none is near.
 */
std::vector<size_t> near_matches(std::string_view typed, const std::vector<std::string>& names,
                                 size_t count);

}  // namespace stepscope::steam
