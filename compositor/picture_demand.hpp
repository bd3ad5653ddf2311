// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/refresh_rate.hpp"

namespace stepscope {

/** Pictures that somebody wants for himself, beside those that the game shows. */
struct PictureDemand {
    uint32_t width = 0;  // pixels
    uint32_t height = 0;
    /** Most pictures per second; 0/1: every one. */
    RefreshRate limit{0, 1};

    bool operator==(const PictureDemand&) const = default;
};

/** Reads "320x180" or "320x180@29.97": sides and rate as the output could have them. */
Result<PictureDemand> parse_picture_demand(std::string_view text);

/** As parse_picture_demand() reads it; the same for equal demands. */
std::string to_string(const PictureDemand& demand);

}  // namespace stepscope
