// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <vector>

#include "picture_area.hpp"

namespace stepscope {

/** More rectangles than these become the one that has them all. */
inline constexpr size_t kMaxDamage = 64;

/**
 * What differs between two pictures, as rectangles within them. None means that nothing is known:
 * everything may differ.
 */
using Damage = std::vector<PictureArea>;

/** Adds a rectangle, as far as it lies within `picture`. */
void add_damage(Damage& damage, const PictureArea& area, const PictureArea& picture);

/** What differs across two changes, one after the other. */
Damage join_damage(Damage first, const Damage& second);

/** True if a rectangle of it is the whole picture, so that it says no more than no list. */
bool covers(const Damage& damage, const PictureArea& picture);

}  // namespace stepscope
