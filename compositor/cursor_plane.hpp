// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <vector>

#include "wlr.hpp"

namespace stepscope {

/** The cursor while it is not drawn into the picture: where it points to, and what it looks like.
 */
class CursorPlane {
public:
    CursorPlane() = default;
    CursorPlane(const CursorPlane&) = delete;
    CursorPlane& operator=(const CursorPlane&) = delete;
    ~CursorPlane();

    /** What it looks like from now on; null: it is hidden. */
    void show(wlr_buffer* buffer, int hotspot_x, int hotspot_y);
    /** The same; reads the texture at once. */
    void show(wlr_texture* texture, int hotspot_x, int hotspot_y);
    void move(int x, int y) {
        x_ = x;
        y_ = y;
    }

    /** Where it points to, in pixels of the output. */
    int x() const { return x_; }
    int y() const { return y_; }
    /** The point of its picture that points. */
    int hotspot_x() const { return hotspot_x_; }
    int hotspot_y() const { return hotspot_y_; }
    uint32_t width() const { return width_; }
    uint32_t height() const { return height_; }
    /**
     * DRM_FORMAT_ARGB8888, premultiplied, rows without padding; empty while it is hidden. Reads
     * them from the renderer's memory if nobody did before.
     */
    const std::vector<uint32_t>& pixels(wlr_renderer* renderer);

private:
    void set_size(uint32_t width, uint32_t height, int hotspot_x, int hotspot_y);
    void read(wlr_texture* texture);
    void drop_buffer();

    int x_ = 0;
    int y_ = 0;
    int hotspot_x_ = 0;
    int hotspot_y_ = 0;
    uint32_t width_ = 0;
    uint32_t height_ = 0;
    wlr_buffer* buffer_ = nullptr;  // locked, until it was read
    std::vector<uint32_t> pixels_;
};

}  // namespace stepscope
