// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "tests/game/frame_code.hpp"

/**
 * Numbered pictures in NV12: the number and its CRC-32 are the first eight bytes of the luma plane;
 * all other luma has one value that the number gives, as have all bytes of the two chroma channels.
 * Pictures in P010 are the same to the byte, with rows that are twice as long.
 */
namespace stepscope::nv12_frame {

/** Rows of a plane; each begins `stride` bytes after the one before. */
template <typename Byte>
struct BasicPlane {
    Byte* data = nullptr;
    size_t width = 0;  // bytes
    size_t rows = 0;
    size_t stride = 0;

    std::span<Byte> row(size_t y) const { return {data + y * stride, width}; }
};
using Plane = BasicPlane<uint8_t>;
using ConstPlane = BasicPlane<const uint8_t>;

inline constexpr size_t kCode = 8;

constexpr std::array<uint8_t, 3> values(uint32_t number) {
    const uint32_t colour = frame_code::frame_colour(number);
    return {static_cast<uint8_t>(colour >> 16), static_cast<uint8_t>(colour >> 8),
            static_cast<uint8_t>(colour)};
}

inline void paint(const Plane& luma, const Plane& chroma, uint32_t number) {
    const auto [y_value, u_value, v_value] = values(number);
    for (size_t y = 0; y < luma.rows; ++y) {
        std::ranges::fill(luma.row(y), y_value);
    }
    for (size_t y = 0; y < chroma.rows; ++y) {
        for (size_t x = 0; x < chroma.width; ++x) {
            chroma.row(y)[x] = x % 2 == 0 ? u_value : v_value;
        }
    }
    const std::array<uint32_t, 2> code{number, frame_code::crc32(number)};
    std::memcpy(luma.data, code.data(), kCode);
}

/** The number of a picture every byte of which is as it was painted. */
inline std::optional<uint32_t> check(const ConstPlane& luma, const ConstPlane& chroma) {
    std::array<uint32_t, 2> code{};
    std::memcpy(code.data(), luma.data, kCode);
    if (frame_code::crc32(code[0]) != code[1]) {
        return std::nullopt;
    }
    const auto [y_value, u_value, v_value] = values(code[0]);
    for (size_t y = 0; y < luma.rows; ++y) {
        for (uint8_t byte : luma.row(y).subspan(y == 0 ? kCode : 0)) {
            if (byte != y_value) {
                return std::nullopt;
            }
        }
    }
    for (size_t y = 0; y < chroma.rows; ++y) {
        for (size_t x = 0; x < chroma.width; ++x) {
            if (chroma.row(y)[x] != (x % 2 == 0 ? u_value : v_value)) {
                return std::nullopt;
            }
        }
    }
    return code[0];
}

}  // namespace stepscope::nv12_frame
