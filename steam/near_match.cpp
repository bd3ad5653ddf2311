// SPDX-License-Identifier: LGPL-2.1-or-later
#include "near_match.hpp"

#include <algorithm>
#include <optional>
#include <tuple>

#include "unicode.hpp"

namespace stepscope::steam {
namespace {

/** Names longer than this are compared by their start; bounds the cost of a hostile one. */
constexpr size_t kComparedLength = 128;

bool is_compared(char32_t point) {
    if (point < 0x80) {
        return (point >= '0' && point <= '9') || (point >= 'a' && point <= 'z');
    }
    bool latin_sign = point < 0xc0 || point == 0xd7 || point == 0xf7;
    bool punctuation_or_symbol = (point >= 0x2000 && point < 0x2c00) ||
                                 (point >= 0x3000 && point < 0x3005) || point == 0xfffd;
    return !latin_sign && !punctuation_or_symbol;
}

/** Smaller is nearer; nothing where it is not near. */
std::optional<size_t> remoteness(std::u32string_view typed, std::u32string_view name) {
    if (typed.empty() || name.empty()) {
        return std::nullopt;
    }
    size_t distance = edit_distance(typed, name);
    if (name.starts_with(typed)) {
        return distance == 0 ? 0 : 1;
    }
    size_t allowed = std::max<size_t>(1, std::max(typed.size(), name.size()) / 3);
    if (distance <= allowed) {
        return 1 + distance;
    }
    constexpr size_t kShortestPart = 3;
    if (typed.size() >= kShortestPart && name.contains(typed)) {
        return kComparedLength;
    }
    // "Portal 2 Deluxe" typed for "Portal 2", or a typing error in the first words of a long name.
    if (name.size() >= kShortestPart && typed.starts_with(name)) {
        return 2 * kComparedLength - name.size();  // the more of it, the nearer
    }
    if (typed.size() > kShortestPart && name.size() > typed.size() &&
        edit_distance(typed, name.substr(0, typed.size())) <= typed.size() / 4) {
        return 2 * kComparedLength;
    }
    return std::nullopt;
}

}  // namespace

std::u32string comparable_name(std::string_view name) {
    std::u32string result;
    for (char32_t point : code_points(name)) {
        char32_t folded = fold_case(point);
        if (is_compared(folded)) {
            result += folded;
        }
        if (result.size() == kComparedLength) {
            break;
        }
    }
    return result;
}

size_t edit_distance(std::u32string_view left, std::u32string_view right) {
    // Three rows: a swap of neighbours looks two rows back.
    std::vector<size_t> before(right.size() + 1);
    std::vector<size_t> previous(right.size() + 1);
    std::vector<size_t> current(right.size() + 1);
    for (size_t j = 0; j <= right.size(); ++j) {
        previous[j] = j;
    }
    for (size_t i = 1; i <= left.size(); ++i) {
        current[0] = i;
        for (size_t j = 1; j <= right.size(); ++j) {
            size_t replace = previous[j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1);
            current[j] = std::min({replace, previous[j] + 1, current[j - 1] + 1});
            if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1]) {
                current[j] = std::min(current[j], before[j - 2] + 1);
            }
        }
        std::swap(before, previous);
        std::swap(previous, current);
    }
    return previous[right.size()];
}

std::vector<size_t> near_matches(std::string_view typed, const std::vector<std::string>& names,
                                 size_t count) {
    struct Match {
        size_t remoteness;
        size_t length;
        size_t index;
    };
    std::vector<Match> matches;
    std::u32string wanted = comparable_name(typed);
    for (size_t i = 0; i < names.size(); ++i) {
        std::u32string name = comparable_name(names[i]);
        if (auto distance = remoteness(wanted, name)) {
            matches.push_back({*distance, name.size(), i});
        }
    }
    std::ranges::sort(matches, {}, [](const Match& match) {
        return std::tuple(match.remoteness, match.length, match.index);
    });
    std::vector<size_t> indices;
    for (size_t i = 0; i < std::min(count, matches.size()); ++i) {
        indices.push_back(matches[i].index);
    }
    return indices;
}

}  // namespace stepscope::steam
