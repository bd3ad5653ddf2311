// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_demand.hpp"

#include <charconv>
#include <format>

#include "capture_output.hpp"

namespace stepscope {
namespace {

/** The whole text as a side of a picture; 0 if it is none. */
uint32_t parse_side(std::string_view text) {
    uint32_t side = 0;
    auto [last, error] = std::from_chars(text.begin(), text.end(), side);
    const bool valid = error == std::errc() && last == text.end() && side >= kMinOutputSide &&
                       side <= kMaxOutputSide;
    return valid ? side : 0;
}

}  // namespace

Result<PictureDemand> parse_picture_demand(std::string_view text) {
    const std::string_view size = text.substr(0, text.find('@'));
    const size_t cross = size.find('x');
    PictureDemand demand;
    if (cross != std::string_view::npos) {
        demand.width = parse_side(size.substr(0, cross));
        demand.height = parse_side(size.substr(cross + 1));
    }
    if (demand.width == 0 || demand.height == 0) {
        return fail(Fault::usage,
                    std::format("'{}'; expected WIDTHxHEIGHT or WIDTHxHEIGHT@RATE, sides of {} to "
                                "{} pixels, for example 320x180@10",
                                text, kMinOutputSide, kMaxOutputSide));
    }
    if (size.size() < text.size()) {
        auto limit = parse_refresh_rate(text.substr(size.size() + 1));
        if (!limit) {
            return std::unexpected(limit.error());
        }
        demand.limit = *limit;
    }
    return demand;
}

std::string to_string(const PictureDemand& demand) {
    std::string text = std::format("{}x{}", demand.width, demand.height);
    if (!demand.limit.unlimited()) {
        text += "@" + to_string(demand.limit);
    }
    return text;
}

}  // namespace stepscope
