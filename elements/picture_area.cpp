// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_area.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>

namespace stepscope {
namespace {

/** Beyond any output; keeps sums within 32 bits. */
constexpr uint32_t kMaxSide = 1U << 20;

}  // namespace

std::optional<PictureArea> intersect(const PictureArea& a, const PictureArea& b) {
    const uint64_t left = std::max(a.x, b.x);
    const uint64_t top = std::max(a.y, b.y);
    const uint64_t right = std::min(uint64_t{a.x} + a.width, uint64_t{b.x} + b.width);
    const uint64_t bottom = std::min(uint64_t{a.y} + a.height, uint64_t{b.y} + b.height);
    if (left >= right || top >= bottom) {
        return std::nullopt;
    }
    return PictureArea{static_cast<uint32_t>(left), static_cast<uint32_t>(top),
                       static_cast<uint32_t>(right - left), static_cast<uint32_t>(bottom - top)};
}

PictureArea unite(const PictureArea& a, const PictureArea& b) {
    const uint32_t left = std::min(a.x, b.x);
    const uint32_t top = std::min(a.y, b.y);
    return {left, top, std::max(a.x + a.width, b.x + b.width) - left,
            std::max(a.y + a.height, b.y + b.height) - top};
}

Result<PictureArea> parse_area(const std::string& text) {
    std::array<uint32_t, 4> values{};
    const char* at = text.data();
    const char* const end = at + text.size();
    bool good = true;
    for (size_t index = 0; good && index < values.size(); ++index) {
        const auto [next, error] = std::from_chars(at, end, values[index]);
        const bool last = index + 1 == values.size();
        good = error == std::errc() && values[index] <= kMaxSide &&
               (last ? next == end : next != end && *next == ',');
        at = last ? next : next + 1;
    }
    if (!good || values[2] == 0 || values[3] == 0) {
        return fail(
            Fault::usage,
            std::format("region=\"{}\" is no rectangle; write X,Y,WIDTH,HEIGHT in pixels of "
                        "the output, as in region=\"0,0,640,360\"",
                        text));
    }
    return PictureArea{values[0], values[1], values[2], values[3]};
}

}  // namespace stepscope
