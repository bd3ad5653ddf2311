// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vdf.hpp"

#include <algorithm>
#include <charconv>
#include <format>

#include "bounded_file.hpp"

namespace stepscope::steam {
namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

using Parser = Result<VdfNode> (*)(std::string_view, const VdfLimits&);

Result<VdfNode> load(const std::string& path, const VdfLimits& limits, Parser parse) {
    auto content = read_bounded_file(path, limits.max_bytes);
    if (!content) {
        return std::unexpected(content.error());
    }
    auto root = parse(*content, limits);
    if (!root) {
        return fail(root.error().fault, std::format("{}, {}", path, root.error().message));
    }
    return root;
}

}  // namespace

bool equal_ignoring_case(std::string_view left, std::string_view right) {
    return std::ranges::equal(left, right, {}, lower, lower);
}

std::optional<uint64_t> parse_decimal(std::string_view text) {
    uint64_t value = 0;
    auto [stop, error] = std::from_chars(text.begin(), text.end(), value);
    if (text.empty() || error != std::errc() || stop != text.end()) {
        return std::nullopt;
    }
    return value;
}

const VdfNode* VdfNode::find(std::string_view name) const {
    auto found = std::ranges::find_if(
        children, [&](const VdfNode& child) { return equal_ignoring_case(child.key, name); });
    return found == children.end() ? nullptr : &*found;
}

const VdfNode* VdfNode::find(std::initializer_list<std::string_view> path) const {
    const VdfNode* node = this;
    for (auto name : path) {
        node = node->find(name);
        if (node == nullptr) {
            return nullptr;
        }
    }
    return node;
}

std::string_view VdfNode::string(std::string_view name) const {
    const VdfNode* child = find(name);
    return child != nullptr ? std::string_view(child->text) : std::string_view();
}

std::optional<uint64_t> VdfNode::number(std::string_view name) const {
    const VdfNode* child = find(name);
    return child != nullptr ? child->as_number() : std::nullopt;
}

std::optional<uint64_t> VdfNode::as_number() const {
    switch (type) {
        case VdfType::string:
        case VdfType::wide_string:
            return parse_decimal(text);
        case VdfType::int32:
        case VdfType::pointer:
        case VdfType::colour:
        case VdfType::uint64:
        case VdfType::int64:
            return bits;
        case VdfType::map:
        case VdfType::float32:
            break;
    }
    return std::nullopt;
}

Result<VdfNode> load_vdf_text(const std::string& path, const VdfLimits& limits) {
    return load(path, limits, parse_vdf_text);
}

Result<VdfNode> load_vdf_binary(const std::string& path, const VdfLimits& limits) {
    return load(path, limits, [](std::string_view input, const VdfLimits& bounds) {
        return parse_vdf_binary(input, bounds);
    });
}

}  // namespace stepscope::steam
