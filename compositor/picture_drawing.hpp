// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "renderer.hpp"

namespace stepscope {

/** Memory of our own for a picture, locked for its owner. */
class OwnPicture {
public:
    /** Null memory where there is none left. */
    OwnPicture(const Renderer& renderer, uint32_t fourcc, uint32_t width, uint32_t height);
    OwnPicture(OwnPicture&& other) noexcept;
    OwnPicture& operator=(OwnPicture&&) = delete;
    OwnPicture(const OwnPicture&) = delete;
    OwnPicture& operator=(const OwnPicture&) = delete;
    ~OwnPicture();
    wlr_buffer* get() const { return buffer_; }

private:
    wlr_buffer* buffer_ = nullptr;
};

/** Draws all of `source` over all of `target`, scaled as needed. */
bool draw_picture(const Renderer& renderer, wlr_buffer* source, wlr_buffer* target);

}  // namespace stepscope
