// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <format>
#include <string>

#include "steam/vdf.hpp"

/** Writers for round trips; nothing but tests writes VDF. */
namespace stepscope::test {

inline std::string quoted_vdf(std::string_view text) {
    std::string result = "\"";
    for (char c : text) {
        switch (c) {
            case '\n':
                result += "\\n";
                break;
            case '\t':
                result += "\\t";
                break;
            case '\\':
            case '"':
                result += '\\';
                [[fallthrough]];
            default:
                result += c;
        }
    }
    return result + '"';
}

/** Numbers become their decimal text. */
inline std::string vdf_text(const steam::VdfNode& map, const std::string& indent = "") {
    std::string result;
    for (const auto& node : map.children) {
        result += indent + quoted_vdf(node.key);
        if (node.is_map()) {
            result += "\n" + indent + "{\n" + vdf_text(node, indent + "\t") + indent + "}\n";
        } else {
            bool text =
                node.type == steam::VdfType::string || node.type == steam::VdfType::wide_string;
            result += "\t\t" + quoted_vdf(text ? node.text : std::to_string(node.bits)) + "\n";
        }
    }
    return result;
}

/** Wide strings become plain ones: the parser has made them UTF-8. */
inline std::string vdf_binary(const steam::VdfNode& map, char end = '\x08') {
    using steam::VdfType;
    std::string result;
    auto number = [&](const steam::VdfNode& node, char type, int bytes) {
        result += type + node.key + '\0';
        for (int i = 0; i < bytes; ++i) {
            result += static_cast<char>(node.bits >> (8 * i) & 0xff);
        }
    };
    for (const auto& node : map.children) {
        switch (node.type) {
            case VdfType::map:
                result += '\x00' + node.key + '\0' + vdf_binary(node, end);
                break;
            case VdfType::string:
            case VdfType::wide_string:
                result += '\x01' + node.key + '\0' + node.text + '\0';
                break;
            case VdfType::int32:
                number(node, '\x02', 4);
                break;
            case VdfType::float32:
                number(node, '\x03', 4);
                break;
            case VdfType::pointer:
                number(node, '\x04', 4);
                break;
            case VdfType::colour:
                number(node, '\x06', 4);
                break;
            case VdfType::uint64:
                number(node, '\x07', 8);
                break;
            case VdfType::int64:
                number(node, '\x0a', 8);
                break;
        }
    }
    return result + end;
}

inline bool same_vdf(const steam::VdfNode& left, const steam::VdfNode& right) {
    if (left.key != right.key || left.type != right.type || left.text != right.text ||
        left.bits != right.bits || left.children.size() != right.children.size()) {
        return false;
    }
    for (size_t i = 0; i < left.children.size(); ++i) {
        if (!same_vdf(left.children[i], right.children[i])) {
            return false;
        }
    }
    return true;
}

}  // namespace stepscope::test
