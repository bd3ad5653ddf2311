// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <xcb/present.h>
#include <xcb/shm.h>
#include <xcb/xcb.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "game.hpp"
#include "graphics.hpp"
#include "shm_memory.hpp"

namespace stepscope::testgame {

struct FreeDeleter {
    void operator()(void* reply) const { std::free(reply); }
};
/** A reply or event of xcb, which comes from malloc. */
template <typename T>
using XcbPtr = std::unique_ptr<T, FreeDeleter>;

/** The connection and what is asked of the server once. */
class X11Display {
public:
    static Result<std::unique_ptr<X11Display>> connect();
    X11Display(const X11Display&) = delete;
    X11Display& operator=(const X11Display&) = delete;
    ~X11Display() { xcb_disconnect(connection); }

    /** Asks the server once for each name. */
    xcb_atom_t atom(std::string_view name) const;
    /** A colour map, needed for windows whose depth is not the root's. */
    xcb_visualid_t find_visual(uint8_t depth) const;
    /** True if a window manager runs. */
    bool has_window_manager() const;
    /** "gone" with what ended the connection; call it when xcb_connection_has_error() says so. */
    Error error() const;

    xcb_connection_t* const connection;
    xcb_screen_t* const screen;
    uint8_t shm_event = 0;       // event number of ShmCompletion
    uint8_t present_opcode = 0;  // 0 where the server has no Present
    uint8_t input_opcode = 0;    // 0 where the server has no XInput 2

private:
    X11Display(xcb_connection_t* opened, xcb_screen_t* first) : connection(opened), screen(first) {}

    mutable std::map<std::string, xcb_atom_t, std::less<>> atoms_;
};

/** The window that the game draws into, with MIT-SHM. */
class X11Window {
public:
    X11Window(const X11Display& display, Game& game);
    X11Window(const X11Window&) = delete;
    X11Window& operator=(const X11Window&) = delete;
    ~X11Window();

    xcb_window_t id() const { return window_; }
    uint16_t width() const { return static_cast<uint16_t>(width_); }
    uint16_t height() const { return static_cast<uint16_t>(height_); }
    bool mapped() const { return mapped_; }

    /** Draw with this and not in shared memory; before the first draw(). */
    void set_graphics(std::unique_ptr<Graphics> graphics) { driver_ = std::move(graphics); }
    xcb_visualid_t visual() const { return visual_; }

    /** Draws and puts the next frame, or counts as starved where no buffer is free. */
    Result<void> draw();

    void handle_mapped() { mapped_ = true; }
    void handle_configure(int width, int height);
    /** The server has read a buffer. */
    void handle_shm_completion(xcb_shm_seg_t segment, uint32_t offset);
    /** Asks for the event that paces --vsync. */
    void request_vsync();

private:
    struct Buffer {
        ShmImage image;
        xcb_shm_seg_t segment = 0;
        bool owns_segment = false;
        std::optional<TimePoint> busy_since;
    };

    void set_properties();
    Result<void> make_buffers();
    void drop_buffers();

    const X11Display& display_;
    Game& game_;
    int width_;
    int height_;
    bool mapped_ = false;
    bool resized_ = true;
    uint8_t depth_ = 24;
    xcb_visualid_t visual_ = 0;
    xcb_window_t window_ = 0;
    xcb_gcontext_t graphics_ = 0;
    uint32_t vsync_serial_ = 0;
    std::unique_ptr<Graphics> driver_;
    std::vector<Buffer> buffers_;
};

/** A dialog or a menu: filled with one colour by the server, shown until the object ends. */
class X11Second {
public:
    enum class Kind { dialog, popup };

    X11Second(const X11Display& display, Game& game, const X11Window& parent, Kind kind);
    X11Second(const X11Second&) = delete;
    X11Second& operator=(const X11Second&) = delete;
    ~X11Second() { xcb_destroy_window(display_.connection, window_); }

    xcb_window_t id() const { return window_; }

private:
    const X11Display& display_;
    xcb_window_t window_;
};

/** Title, class and _NET_WM_PID, as every window of the game has them. */
void set_common_properties(const X11Display& display, xcb_window_t window, const Options& options,
                           const std::string& title);

}  // namespace stepscope::testgame
