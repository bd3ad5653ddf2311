// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

/**
 * Valve's KeyValues, as Steam writes them: text (.vdf, .acf) and binary (shortcuts.vdf).
 *
 * Both parsers take untrusted bytes, never read files and never throw for what is in them. Errors
 * say where (line, or offset for binary), what was expected and what came; the caller puts the
 * file's name in front.
 */
namespace stepscope::steam {

enum class VdfType {
    map,
    string,
    int32,
    float32,
    pointer,
    wide_string,  // kept as UTF-8
    colour,
    uint64,
    int64,
};

/** One key with its value. Keys may repeat; children keep the order of the file. */
struct VdfNode {
    std::string key;
    VdfType type = VdfType::map;
    std::string text;               // string and wide_string
    uint64_t bits = 0;              // numbers: as stored, not sign-extended; a float's bit pattern
    std::vector<VdfNode> children;  // map

    bool is_map() const { return type == VdfType::map; }

    /** The first child of that name, ASCII case ignored, as Steam itself does; null if none. */
    const VdfNode* find(std::string_view name) const;
    /** The same along a path of keys. */
    const VdfNode* find(std::initializer_list<std::string_view> path) const;

    /** The child's string, or empty if it isn't there or is none. */
    std::string_view string(std::string_view name) const;
    /** The child as a number, whether it was written as text or as a number. */
    std::optional<uint64_t> number(std::string_view name) const;
    /** True for a number other than 0. */
    bool flag(std::string_view name) const { return number(name).value_or(0) != 0; }

    /** This node's value as a number: decimal text without sign, or any integer type. */
    std::optional<uint64_t> as_number() const;
};

/** A node's children; none for null, as lookups return it. */
inline std::span<const VdfNode> children_of(const VdfNode* node) {
    return node != nullptr ? std::span<const VdfNode>(node->children) : std::span<const VdfNode>();
}

/** What a file may cost us at most. Steam's own files stay far below. */
struct VdfLimits {
    size_t max_bytes = size_t{16} << 20;
    size_t max_nodes = size_t{1} << 18;
    unsigned max_depth = 64;
};

/**
 * Text: quoted and unquoted tokens, the escapes \n \t \\ \" (an unknown one stays as written), line
 * comments, a UTF-8 byte order mark, any line ends. Conditionals ([$WIN32]) are skipped and their
 * nodes kept; #include and #base are skipped with their file name. The result is a map without a
 * key that holds the file's top level. Broken UTF-8 is passed on as it is.
 */
Result<VdfNode> parse_vdf_text(std::string_view input, const VdfLimits& limits = {});

/**
 * Binary, little-endian. Either end byte (0x08, 0x0B) ends a map. With `keys`, as in appinfo.vdf,
 * each key is the 32-bit number of one of them instead of its text; the table must outlive the
 * call.
 */
Result<VdfNode> parse_vdf_binary(std::string_view input, const VdfLimits& limits = {},
                                 const std::vector<std::string_view>* keys = nullptr);

/** Reads and parses a regular file; errors begin with its path. */
Result<VdfNode> load_vdf_text(const std::string& path, const VdfLimits& limits = {});
Result<VdfNode> load_vdf_binary(const std::string& path, const VdfLimits& limits = {});

/** ASCII case ignored. */
bool equal_ignoring_case(std::string_view left, std::string_view right);

/** Decimal digits only, all of it; nothing on overflow. */
std::optional<uint64_t> parse_decimal(std::string_view text);

}  // namespace stepscope::steam
