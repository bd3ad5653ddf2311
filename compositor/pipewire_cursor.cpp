// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_cursor.hpp"

#include <spa/buffer/meta.h>
#include <spa/param/video/raw.h>

#include <algorithm>

namespace stepscope {
namespace {

constexpr uint32_t kPixel = 4;

/** From the output to a picture of it, along one side. */
struct Scale {
    uint32_t to;
    uint32_t from;

    int32_t point(int value) const {
        return static_cast<int32_t>(int64_t{value} * to / std::max(from, 1U));
    }
    uint32_t length(uint32_t value) const {
        return std::max<uint32_t>(1,
                                  static_cast<uint32_t>(uint64_t{value} * to / std::max(from, 1U)));
    }
};

}  // namespace

size_t cursor_room(uint32_t side) {
    return sizeof(spa_meta_cursor) + sizeof(spa_meta_bitmap) + size_t{side} * side * kPixel;
}

void write_cursor(spa_buffer* buffer, CaptureOutput& output, uint32_t width, uint32_t height) {
    const spa_meta* meta = spa_buffer_find_meta(buffer, SPA_META_Cursor);
    if (meta == nullptr || meta->size < sizeof(spa_meta_cursor)) {
        return;
    }
    auto* cursor = static_cast<spa_meta_cursor*>(meta->data);
    *cursor = {};
    const CursorPlane& plane = output.cursor();
    const std::vector<uint32_t>& pixels = output.cursor_pixels();
    if (pixels.empty()) {
        return;  // consumers take a cursor without a number for hidden
    }
    const Scale across{width, output.width()};
    const Scale down{height, output.height()};
    cursor->id = 1;
    cursor->position = {across.point(plane.x()), down.point(plane.y())};
    cursor->hotspot = {across.point(plane.hotspot_x()), down.point(plane.hotspot_y())};
    const uint32_t columns = across.length(plane.width());
    const uint32_t rows = down.length(plane.height());
    const size_t head = sizeof(spa_meta_cursor) + sizeof(spa_meta_bitmap);
    if (meta->size < head + size_t{columns} * rows * kPixel) {
        return;  // no room for the picture: where it is must do
    }
    cursor->bitmap_offset = sizeof(spa_meta_cursor);
    auto* bitmap = SPA_PTROFF(cursor, cursor->bitmap_offset, spa_meta_bitmap);
    bitmap->format = SPA_VIDEO_FORMAT_BGRA;
    bitmap->size = {columns, rows};
    bitmap->stride = static_cast<int32_t>(columns * kPixel);
    bitmap->offset = sizeof(spa_meta_bitmap);
    auto* target = SPA_PTROFF(bitmap, bitmap->offset, uint32_t);
    for (uint32_t y = 0; y < rows; ++y) {
        const uint32_t* source = pixels.data() + size_t{y} * plane.height() / rows * plane.width();
        for (uint32_t x = 0; x < columns; ++x) {
            *target++ = source[size_t{x} * plane.width() / columns];
        }
    }
}

}  // namespace stepscope
