// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.hpp"

namespace stepscope {

/** A rectangle of a picture, in pixels. */
struct PictureArea {
    uint32_t x = 0;
    uint32_t y = 0;
    uint32_t width = 0;
    uint32_t height = 0;

    bool operator==(const PictureArea&) const = default;
};

/** What both have; nothing if they are apart. */
std::optional<PictureArea> intersect(const PictureArea& a, const PictureArea& b);

/** The smallest that has both. */
PictureArea unite(const PictureArea& a, const PictureArea& b);

/** Reads "X,Y,WIDTH,HEIGHT". */
Result<PictureArea> parse_area(const std::string& text);

}  // namespace stepscope
