// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/game/frame_code.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <vector>

using namespace stepscope::frame_code;

namespace {

struct Image {
    explicit Image(int width, int height, uint32_t number = 0, uint32_t input = 0)
        : stride(static_cast<size_t>(width) * 4 + 64),
          bytes(stride * static_cast<size_t>(height)),
          pixels{bytes.data(), width, height, stride} {
        for (int y = 0; y < height; ++y) {
            std::fill_n(reinterpret_cast<uint32_t*>(pixels.row(y)), width,
                        0xff000000U | frame_colour(number));
        }
        write_code(pixels, 0, number);
        write_code(pixels, kHeight, input);
    }
    ConstPixels view() const { return {pixels.data, pixels.width, pixels.height, pixels.stride}; }

    size_t stride;
    std::vector<uint8_t> bytes;
    Pixels pixels;
};

constexpr uint32_t kNumbers[] = {0, 1, 2, 0x12345678, 0x80000000, 0xffffffff};

}  // namespace

TEST_CASE("numbers are read back") {
    for (uint32_t number : kNumbers) {
        const Image image(320, 200, number, ~number);
        CHECK(read_frame_number(image.view()) == number);
        CHECK(read_input_sequence(image.view()) == ~number);
        CHECK(check_frame(image.view()).intact());
    }
}

TEST_CASE("the same numbers mean the same as in Python") {
    CHECK(crc32(0) == 0x2144df1c);
    CHECK(crc32(0x12345678) == 0xaf6d87d2);
    CHECK(frame_colour(0) == 0xca2f0e);
    CHECK(frame_colour(0x12345678) == 0x7660ea);
}

TEST_CASE("red and blue may change places") {
    Image image(320, 200, 77, 5);
    for (size_t i = 0; i + 3 < image.bytes.size(); i += 4) {
        std::swap(image.bytes[i], image.bytes[i + 2]);
    }
    CHECK(check_frame(image.view(), kRgbx).intact());
    CHECK_FALSE(check_frame(image.view(), kBgrx).intact());
}

TEST_CASE("any damaged cell is noticed") {
    for (int cell = 0; cell < kReferences + kBits; ++cell) {
        Image image(320, 200, 0x12345678);
        const int left = cell % kColumns * kCell;
        const int top = cell / kColumns * kCell;
        for (int y = top; y < top + kCell; ++y) {
            for (int x = left * 4; x < (left + kCell) * 4; ++x) {
                image.pixels.row(y)[x] ^= 0xff;
            }
        }
        CAPTURE(cell);
        CHECK_FALSE(read_frame_number(image.view()));
    }
}

TEST_CASE("pictures without a code have no number") {
    Image image(320, 200);
    for (int value : {0, 128, 255}) {
        std::ranges::fill(image.bytes, static_cast<uint8_t>(value));
        CHECK_FALSE(read_frame_number(image.view()));
    }
    const Image small(kWidth - 1, kHeight);
    CHECK_FALSE(read_frame_number(small.view()));
}

TEST_CASE("a torn frame is noticed wherever the tear is") {
    for (int from : {kBlockHeight, 100, 199}) {
        Image image(320, 200, 41);
        for (int y = from; y < 200; ++y) {
            std::fill_n(reinterpret_cast<uint32_t*>(image.pixels.row(y)), 320,
                        0xff000000U | frame_colour(42));
        }
        const FrameCheck check = check_frame(image.view());
        CAPTURE(from);
        CHECK(check.number == 41U);
        CHECK(check.wrong_samples > 0);
        CHECK_FALSE(check.intact());
    }
}
