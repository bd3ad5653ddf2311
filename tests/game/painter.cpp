// SPDX-License-Identifier: LGPL-2.1-or-later
#include "painter.hpp"

#include <algorithm>

namespace stepscope::testgame {

void paint_solid(const frame_code::Pixels& image, uint32_t colour) {
    for (int y = 0; y < image.height; ++y) {
        std::fill_n(reinterpret_cast<uint32_t*>(image.row(y)), image.width, 0xff000000U | colour);
    }
}

void paint_frame(const frame_code::Pixels& image, Paint paint, uint32_t number,
                 uint32_t input_sequence) {
    if (paint == Paint::full) {
        paint_solid(image, frame_code::frame_colour(number));
    }
    frame_code::write_code(image, 0, number);
    frame_code::write_code(image, frame_code::kHeight, input_sequence);
}

void paint_cursor(const frame_code::Pixels& image) {
    for (int y = 0; y < image.height; ++y) {
        auto* row = reinterpret_cast<uint32_t*>(image.row(y));
        for (int x = 0; x < image.width; ++x) {
            row[x] = x + y < image.width ? 0xff000000U | kCursorColour : 0U;
        }
    }
}

}  // namespace stepscope::testgame
