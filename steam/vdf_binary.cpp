// SPDX-License-Identifier: LGPL-2.1-or-later
#include <format>

#include "unicode.hpp"
#include "vdf.hpp"

namespace stepscope::steam {
namespace {

enum TypeByte : uint8_t {
    kMap = 0x00,
    kString = 0x01,
    kInt32 = 0x02,
    kFloat32 = 0x03,
    kPointer = 0x04,
    kWideString = 0x05,
    kColour = 0x06,
    kUint64 = 0x07,
    kEnd = 0x08,
    kInt64 = 0x0a,
    kEndAlternative = 0x0b,
};

struct TypeLayout {
    VdfType type;
    size_t number_bytes;  // 0 where it is no number
};

std::optional<TypeLayout> layout_of(uint8_t byte) {
    switch (byte) {
        case kMap:
            return TypeLayout{VdfType::map, 0};
        case kString:
            return TypeLayout{VdfType::string, 0};
        case kInt32:
            return TypeLayout{VdfType::int32, 4};
        case kFloat32:
            return TypeLayout{VdfType::float32, 4};
        case kPointer:
            return TypeLayout{VdfType::pointer, 4};
        case kWideString:
            return TypeLayout{VdfType::wide_string, 0};
        case kColour:
            return TypeLayout{VdfType::colour, 4};
        case kUint64:
            return TypeLayout{VdfType::uint64, 8};
        case kInt64:
            return TypeLayout{VdfType::int64, 8};
        default:
            return std::nullopt;
    }
}

std::unexpected<Error> wrong(size_t offset, std::string_view what) {
    return fail(Fault::protocol, std::format("offset {}: {}", offset, what));
}

class BinaryParser {
public:
    BinaryParser(std::string_view input, const VdfLimits& limits,
                 const std::vector<std::string_view>* keys)
        : input_(input), limits_(limits), keys_(keys) {}

    Result<VdfNode> parse() {
        VdfNode root;
        // Pointers into vectors that can't grow: only the innermost map gets new children.
        open_.push_back(&root);
        while (position_ < input_.size()) {
            auto byte = static_cast<uint8_t>(input_[position_]);
            if (byte != kEnd && byte != kEndAlternative) {
                if (auto done = node(byte); !done) {
                    return std::unexpected(done.error());
                }
                continue;
            }
            ++position_;
            if (open_.size() == 1) {
                return finish(std::move(root));
            }
            open_.pop_back();
        }
        if (open_.size() > 1) {
            return wrong(position_, "expected the end of a map (0x08), got the end of the file");
        }
        return root;
    }

private:
    Result<VdfNode> finish(VdfNode root) const {
        if (position_ < input_.size()) {
            return wrong(position_, std::format("expected the end of the file, got {} more bytes",
                                                input_.size() - position_));
        }
        return root;
    }

    Result<void> node(uint8_t byte) {
        auto layout = layout_of(byte);
        if (!layout) {
            return wrong(position_, std::format("expected a type (0x00 to 0x08, 0x0a, 0x0b), got "
                                                "0x{:02x}",
                                                byte));
        }
        if (++nodes_ > limits_.max_nodes) {
            return wrong(position_,
                         std::format("expected at most {} entries, got more", limits_.max_nodes));
        }
        ++position_;
        VdfNode node;
        node.type = layout->type;
        auto key = keys_ != nullptr ? numbered_key() : string("a key");
        if (!key) {
            return std::unexpected(key.error());
        }
        node.key = std::move(*key);
        if (layout->number_bytes > 0) {
            if (auto done = number(layout->number_bytes, node.bits); !done) {
                return done;
            }
        } else if (node.type != VdfType::map) {
            auto text = node.type == VdfType::string ? string("a string") : wide_string();
            if (!text) {
                return std::unexpected(text.error());
            }
            node.text = std::move(*text);
        } else if (open_.size() > limits_.max_depth) {
            return wrong(position_, std::format("expected at most {} nested levels, got more",
                                                limits_.max_depth));
        }
        auto& siblings = open_.back()->children;
        siblings.push_back(std::move(node));
        if (siblings.back().is_map()) {
            open_.push_back(&siblings.back());
        }
        return {};
    }

    Result<std::string> numbered_key() {
        size_t start = position_;
        uint64_t index = 0;
        if (auto done = number(4, index); !done) {
            return std::unexpected(done.error());
        }
        if (index >= keys_->size()) {
            return wrong(start, std::format("expected the number of one of {} keys, got {}",
                                            keys_->size(), index));
        }
        return std::string((*keys_)[index]);
    }

    Result<std::string> string(std::string_view what) {
        size_t end = input_.find('\0', position_);
        if (end == std::string_view::npos) {
            return wrong(position_,
                         std::format("expected the zero byte that ends {}, got the end of "
                                     "the file",
                                     what));
        }
        std::string text(input_.substr(position_, end - position_));
        position_ = end + 1;
        return text;
    }

    /** UTF-16LE up to a zero unit. */
    Result<std::string> wide_string() {
        size_t start = position_;
        std::u16string units;
        while (input_.size() - position_ >= 2) {
            auto unit = static_cast<char16_t>(little_endian(2));
            position_ += 2;
            if (unit == 0) {
                return utf8_from_utf16(units);
            }
            units += unit;
        }
        return wrong(start,
                     "expected the zero unit that ends a wide string, got the end of the file");
    }

    Result<void> number(size_t bytes, uint64_t& value) {
        if (input_.size() - position_ < bytes) {
            return wrong(position_, std::format("expected a number of {} bytes, got the end of the "
                                                "file after {}",
                                                bytes, input_.size() - position_));
        }
        value = little_endian(bytes);
        position_ += bytes;
        return {};
    }

    uint64_t little_endian(size_t bytes) const {
        uint64_t value = 0;
        for (size_t i = bytes; i-- > 0;) {
            value = value << 8 | static_cast<uint8_t>(input_[position_ + i]);
        }
        return value;
    }

    std::string_view input_;
    const VdfLimits& limits_;
    const std::vector<std::string_view>* keys_;  // may be null
    size_t position_ = 0;
    std::vector<VdfNode*> open_;
    size_t nodes_ = 0;
};

}  // namespace

Result<VdfNode> parse_vdf_binary(std::string_view input, const VdfLimits& limits,
                                 const std::vector<std::string_view>* keys) {
    if (input.size() > limits.max_bytes) {
        return wrong(
            0, std::format("expected at most {} bytes, got {}", limits.max_bytes, input.size()));
    }
    return BinaryParser(input, limits, keys).parse();
}

}  // namespace stepscope::steam
