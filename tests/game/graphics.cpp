// SPDX-License-Identifier: LGPL-2.1-or-later
#include "graphics.hpp"

namespace stepscope::testgame {

Result<std::unique_ptr<Graphics>> Graphics::create([[maybe_unused]] const Options& options,
                                                   [[maybe_unused]] const NativeWindow& window) {
#ifdef STEPSCOPE_TESTGAME_GRAPHICS
    switch (options.graphics) {
        case GraphicsApi::shm:
            break;
        case GraphicsApi::egl:
            return create_egl(options, window);
        case GraphicsApi::glx:
            return create_glx(options, window);
        case GraphicsApi::vulkan:
            return create_vulkan(options, window);
    }
#endif
    return nullptr;
}

Result<void> Graphics::draw(Game& game, int width, int height) {
    if (width != width_ || height != height_) {
        if (auto resized = resize(width, height); !resized) {
            return resized;
        }
        width_ = width;
        height_ = height;
        pixels_.assign(static_cast<size_t>(width) * static_cast<size_t>(height), 0);
    }
    const frame_code::Pixels image{.data = reinterpret_cast<uint8_t*>(pixels_.data()),
                                   .width = width,
                                   .height = height,
                                   .stride = static_cast<size_t>(width) * sizeof(uint32_t)};
    game.paint_next(image);
    // Said before it is shown: the present may return a step later.
    game.frame_shown();
    return present(image);
}

}  // namespace stepscope::testgame
