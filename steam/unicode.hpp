// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stepscope::steam {

/** UTF-8; a lone surrogate becomes U+FFFD. */
std::string utf8_from_utf16(std::u16string_view units);

/** Code points; each byte that is no UTF-8 becomes U+FFFD. */
std::u32string code_points(std::string_view utf8);

/** Small letters for capitals of Latin (ASCII, Latin-1), Greek and Cyrillic; others stay. */
char32_t fold_case(char32_t point);

/** Without control characters and broken UTF-8, so that a title's name can't steer a terminal. */
std::string printable(std::string_view utf8);

/** Columns that `utf8` takes on a terminal. */
size_t display_width(std::string_view utf8);

}  // namespace stepscope::steam
