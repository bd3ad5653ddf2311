// SPDX-License-Identifier: LGPL-2.1-or-later
#include "damage.hpp"

#include <algorithm>

namespace stepscope {
namespace {

void append(Damage& damage, const PictureArea& area) {
    if (damage.size() < kMaxDamage) {
        damage.push_back(area);
        return;
    }
    PictureArea all = area;
    for (const PictureArea& one : damage) {
        all = unite(all, one);
    }
    damage.assign(1, all);
}

}  // namespace

void add_damage(Damage& damage, const PictureArea& area, const PictureArea& picture) {
    if (auto within = intersect(area, picture)) {
        append(damage, *within);
    }
}

Damage join_damage(Damage first, const Damage& second) {
    if (first.empty() || second.empty()) {
        return {};
    }
    for (const PictureArea& area : second) {
        if (std::ranges::find(first, area) == first.end()) {
            append(first, area);
        }
    }
    return first;
}

bool covers(const Damage& damage, const PictureArea& picture) {
    return std::ranges::any_of(
        damage, [&](const PictureArea& area) { return intersect(area, picture) == picture; });
}

}  // namespace stepscope
