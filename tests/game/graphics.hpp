// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "game.hpp"

struct wl_display;
struct wl_surface;
struct xcb_connection_t;

namespace stepscope::testgame {

/** Where to draw: on a Wayland surface, or else in an X11 window. */
struct NativeWindow {
    wl_display* wayland = nullptr;
    wl_surface* surface = nullptr;
    xcb_connection_t* x11 = nullptr;
    uint32_t window = 0;
    uint32_t visual = 0;
};

/** Shows frames by an API of the graphics driver, as most games do, in place of shared memory. */
class Graphics {
public:
    /** As the options say; null for shared memory. */
    static Result<std::unique_ptr<Graphics>> create(const Options& options,
                                                    const NativeWindow& window);
    virtual ~Graphics() = default;
    Graphics(const Graphics&) = delete;
    Graphics& operator=(const Graphics&) = delete;

    /** Paints the next frame of `game` in this size and presents it. */
    Result<void> draw(Game& game, int width, int height);

protected:
    Graphics() = default;
    virtual Result<void> resize(int width, int height) = 0;
    /** Shows pixels of the size last set, rows without padding. */
    virtual Result<void> present(const frame_code::Pixels& pixels) = 0;

private:
    std::vector<uint32_t> pixels_;
    int width_ = 0;
    int height_ = 0;
};

#ifdef STEPSCOPE_TESTGAME_GRAPHICS
Result<std::unique_ptr<Graphics>> create_egl(const Options& options, const NativeWindow& window);
Result<std::unique_ptr<Graphics>> create_glx(const Options& options, const NativeWindow& window);
Result<std::unique_ptr<Graphics>> create_vulkan(const Options& options, const NativeWindow& window);
#endif

}  // namespace stepscope::testgame
