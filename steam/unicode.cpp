// SPDX-License-Identifier: LGPL-2.1-or-later
#include "unicode.hpp"

#include <wchar.h>

#include <algorithm>
#include <cstdint>

namespace stepscope::steam {
namespace {

constexpr char32_t kReplacement = 0xfffd;

bool is_surrogate(char32_t point) {
    return point >= 0xd800 && point <= 0xdfff;
}

void append_utf8(std::string& text, char32_t point) {
    auto byte = [&](char32_t value) { text += static_cast<char>(value); };
    auto tail = [&](int shift) { byte(0x80 | (point >> shift & 0x3f)); };
    if (point < 0x80) {
        byte(point);
    } else if (point < 0x800) {
        byte(0xc0 | point >> 6);
        tail(0);
    } else if (point < 0x10000) {
        byte(0xe0 | point >> 12);
        tail(6);
        tail(0);
    } else {
        byte(0xf0 | point >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

struct Decoded {
    char32_t point = kReplacement;
    size_t length = 1;
};

Decoded decode(std::string_view text) {
    auto first = static_cast<uint8_t>(text[0]);
    if (first < 0x80) {
        return {first, 1};
    }
    size_t length = first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first >= 0xf8 || text.size() < length) {
        return {};
    }
    char32_t point = first & (0xff >> (length + 1));
    for (size_t i = 1; i < length; ++i) {
        auto byte = static_cast<uint8_t>(text[i]);
        if ((byte & 0xc0) != 0x80) {
            return {};
        }
        point = point << 6 | (byte & 0x3f);
    }
    constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10ffff || is_surrogate(point)) {
        return {};
    }
    return {point, length};
}

bool is_control(char32_t point) {
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

/** Characters that reorder or hide text around them. */
bool is_formatting(char32_t point) {
    return (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || point == 0xfeff;
}

}  // namespace

std::string utf8_from_utf16(std::u16string_view units) {
    std::string text;
    for (size_t i = 0; i < units.size(); ++i) {
        char32_t point = units[i];
        if (point >= 0xd800 && point < 0xdc00 && i + 1 < units.size() && units[i + 1] >= 0xdc00 &&
            units[i + 1] < 0xe000) {
            point = 0x10000 + ((point - 0xd800) << 10) + (units[++i] - 0xdc00);
        }
        append_utf8(text, is_surrogate(point) ? kReplacement : point);
    }
    return text;
}

std::u32string code_points(std::string_view utf8) {
    std::u32string points;
    while (!utf8.empty()) {
        Decoded decoded = decode(utf8);
        points += decoded.point;
        utf8.remove_prefix(decoded.length);
    }
    return points;
}

char32_t fold_case(char32_t point) {
    auto between = [&](char32_t first, char32_t last) { return point >= first && point <= last; };
    if (between('A', 'Z') || (between(0xc0, 0xde) && point != 0xd7) || between(0x391, 0x3a9) ||
        between(0x410, 0x42f)) {
        return point + 0x20;
    }
    return between(0x400, 0x40f) ? point + 0x50 : point;
}

std::string printable(std::string_view utf8) {
    std::string text;
    for (char32_t point : code_points(utf8)) {
        append_utf8(text, is_control(point) || is_formatting(point) ? kReplacement : point);
    }
    return text;
}

size_t display_width(std::string_view utf8) {
    size_t columns = 0;
    for (char32_t point : code_points(utf8)) {
        // -1: not printable in this locale; take the usual one column.
        int width = ::wcwidth(static_cast<wchar_t>(point));
        columns += width < 0 ? 1 : static_cast<size_t>(width);
    }
    return columns;
}

}  // namespace stepscope::steam
