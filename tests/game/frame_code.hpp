// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>

/**
 * The number that every frame of the test game shows, and how to read it back.
 *
 * A code is a block of 17 x 4 cells of 8 x 8 pixels, black or white, row by row: three reference
 * cells (white, black, white), then 64 bits, least significant first (the number, then the CRC-32
 * of its four little-endian bytes), then one black cell that nobody reads. Two codes lie in the
 * top-left corner: the frame number at (0, 0) and, right below, the sequence number of the last
 * input event that the game had seen when it drew. tests/support/frame_code.py is the same in
 * Python; what one writes, the other reads.
 */
namespace stepscope::frame_code {

inline constexpr int kCell = 8;
inline constexpr int kColumns = 17;
inline constexpr int kRows = 4;
inline constexpr int kReferences = 3;
inline constexpr int kBits = 64;
/** Size of one code in pixels, and of the two together. */
inline constexpr int kWidth = kColumns * kCell;
inline constexpr int kHeight = kRows * kCell;
inline constexpr int kBlockHeight = 2 * kHeight;

/** The CRC-32 of zlib and PNG over the value's four little-endian bytes. */
constexpr uint32_t crc32(uint32_t value) {
    uint32_t crc = 0xffffffffU;
    for (int byte = 0; byte < 4; ++byte) {
        crc ^= (value >> (8 * byte)) & 0xffU;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
        }
    }
    return ~crc;
}

/** 0xRRGGBB of what surrounds the code of frame `number` where the game paints all of it. */
constexpr uint32_t frame_colour(uint32_t number) {
    uint32_t hash = number + 0x9e3779b9U;
    hash = (hash ^ (hash >> 16)) * 0x85ebca6bU;
    hash = (hash ^ (hash >> 13)) * 0xc2b2ae35U;
    return (hash ^ (hash >> 16)) & 0xffffffU;
}

/** Pixels of four bytes, not owned. `stride` is in bytes. */
template <typename Byte>
struct BasicPixels {
    Byte* data = nullptr;
    int width = 0;
    int height = 0;
    size_t stride = 0;

    Byte* row(int y) const { return data + static_cast<size_t>(y) * stride; }
};
using Pixels = BasicPixels<uint8_t>;
using ConstPixels = BasicPixels<const uint8_t>;

/** Where red, green and blue are within a pixel: BGRx is what the game draws. */
struct ChannelOrder {
    int red = 2;
    int green = 1;
    int blue = 0;
};
inline constexpr ChannelOrder kBgrx{2, 1, 0};
inline constexpr ChannelOrder kRgbx{0, 1, 2};

/** Writes a code with its top-left pixel at (0, y). Writes nothing where it does not fit. */
inline void write_code(const Pixels& image, int y, uint32_t value) {
    if (image.width < kWidth || image.height < y + kHeight) {
        return;
    }
    const uint64_t bits = uint64_t{value} | (uint64_t{crc32(value)} << 32);
    for (int cell = 0; cell < kColumns * kRows; ++cell) {
        const int bit = cell - kReferences;
        const bool white =
            bit < 0 ? cell != 1 : bit < kBits && ((bits >> static_cast<unsigned>(bit)) & 1U) != 0;
        const int left = cell % kColumns * kCell;
        const int top = y + cell / kColumns * kCell;
        for (int line = top; line < top + kCell; ++line) {
            auto* pixel = reinterpret_cast<uint32_t*>(image.row(line)) + left;
            for (int column = 0; column < kCell; ++column) {
                pixel[column] = white ? 0xffffffffU : 0xff000000U;
            }
        }
    }
}

/**
 * Reads the code at (0, y); empty if there is none or it is damaged. Looks at the second byte of a
 * pixel only, which is a colour in every order of channels, and at four pixels in the middle of a
 * cell, which survive lossy compression.
 */
inline std::optional<uint32_t> read_code(const ConstPixels& image, int y) {
    if (image.width < kWidth || image.height < y + kHeight) {
        return std::nullopt;
    }
    auto brightness = [&](int cell) {
        const int left = cell % kColumns * kCell + kCell / 2 - 1;
        const int top = y + cell / kColumns * kCell + kCell / 2 - 1;
        int sum = 0;
        for (int line = top; line < top + 2; ++line) {
            const uint8_t* pixel = image.row(line) + static_cast<ptrdiff_t>(left) * 4;
            sum += pixel[1] + pixel[5];
        }
        return sum;
    };
    const int white = brightness(0);
    const int black = brightness(1);
    if (white - black < 4 * 64) {
        return std::nullopt;
    }
    const int middle = (white + black) / 2;
    if (brightness(2) <= middle) {
        return std::nullopt;
    }
    uint64_t bits = 0;
    for (int bit = 0; bit < kBits; ++bit) {
        bits |= uint64_t{brightness(kReferences + bit) > middle} << static_cast<unsigned>(bit);
    }
    const auto value = static_cast<uint32_t>(bits);
    if (crc32(value) != static_cast<uint32_t>(bits >> 32)) {
        return std::nullopt;
    }
    return value;
}

inline std::optional<uint32_t> read_frame_number(const ConstPixels& image) {
    return read_code(image, 0);
}

inline std::optional<uint32_t> read_input_sequence(const ConstPixels& image) {
    return read_code(image, kHeight);
}

/** What check_frame() found. `number` is empty where the code can't be read. */
struct FrameCheck {
    std::optional<uint32_t> number;
    std::optional<uint32_t> input_sequence;
    /** Samples outside the code that have not the number's colour. */
    int wrong_samples = 0;
    int samples = 0;

    bool intact() const { return number.has_value() && wrong_samples == 0; }
};

/**
 * Reads the numbers of a frame painted with `--paint full` and compares samples spread over all of
 * it, edges included, with the number's colour: a frame that is torn, or that changed while it was
 * held, has wrong samples. `tolerance` is per channel, 0 for what was not compressed.
 */
inline FrameCheck check_frame(const ConstPixels& image, ChannelOrder order = kBgrx,
                              int tolerance = 0) {
    FrameCheck result;
    result.number = read_frame_number(image);
    result.input_sequence = read_input_sequence(image);
    if (!result.number) {
        return result;
    }
    const uint32_t colour = frame_colour(*result.number);
    const std::array<int, 3> expected = {static_cast<int>(colour >> 16),
                                         static_cast<int>(colour >> 8 & 0xffU),
                                         static_cast<int>(colour & 0xffU)};
    constexpr int kAcross = 16;
    constexpr int kDown = 64;
    for (int j = 0; j < kDown; ++j) {
        const int y = j * (image.height - 1) / (kDown - 1);
        for (int i = 0; i < kAcross; ++i) {
            const int x = i * (image.width - 1) / (kAcross - 1);
            if (x < kWidth && y < kBlockHeight) {
                continue;
            }
            const uint8_t* pixel = image.row(y) + static_cast<ptrdiff_t>(x) * 4;
            ++result.samples;
            if (std::abs(pixel[order.red] - expected[0]) > tolerance ||
                std::abs(pixel[order.green] - expected[1]) > tolerance ||
                std::abs(pixel[order.blue] - expected[2]) > tolerance) {
                ++result.wrong_samples;
            }
        }
    }
    return result;
}

}  // namespace stepscope::frame_code
