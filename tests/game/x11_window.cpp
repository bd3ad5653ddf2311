// SPDX-License-Identifier: LGPL-2.1-or-later
#include "x11_window.hpp"

#include <unistd.h>
#include <xcb/xcb_icccm.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "painter.hpp"

namespace stepscope::testgame {

void set_common_properties(const X11Display& display, xcb_window_t window, const Options& options,
                           const std::string& title) {
    xcb_connection_t* connection = display.connection;
    xcb_icccm_set_wm_name(connection, window, XCB_ATOM_STRING, 8,
                          static_cast<uint32_t>(title.size()), title.c_str());
    xcb_change_property(connection, XCB_PROP_MODE_REPLACE, window, display.atom("_NET_WM_NAME"),
                        display.atom("UTF8_STRING"), 8, static_cast<uint32_t>(title.size()),
                        title.c_str());
    std::string name_and_class = options.app_id;
    name_and_class += '\0';
    name_and_class += options.app_id;
    name_and_class += '\0';
    xcb_icccm_set_wm_class(connection, window, static_cast<uint32_t>(name_and_class.size()),
                           name_and_class.data());
    const auto pid = static_cast<uint32_t>(getpid());
    xcb_change_property(connection, XCB_PROP_MODE_REPLACE, window, display.atom("_NET_WM_PID"),
                        XCB_ATOM_CARDINAL, 32, 1, &pid);
}

X11Window::X11Window(const X11Display& display, Game& game)
    : display_(display),
      game_(game),
      width_(game.options().width),
      height_(game.options().height),
      depth_(game.options().argb ? uint8_t{32} : uint8_t{24}) {
    xcb_connection_t* connection = display.connection;
    if (game.options().fullscreen && !game.options().fixed_size && !display.has_window_manager()) {
        // Nobody else would do it.
        width_ = display.screen->width_in_pixels;
        height_ = display.screen->height_in_pixels;
    }
    visual_ = display.find_visual(depth_);
    const xcb_colormap_t colours = xcb_generate_id(connection);
    xcb_create_colormap(connection, XCB_COLORMAP_ALLOC_NONE, colours, display.screen->root,
                        visual_);
    window_ = xcb_generate_id(connection);
    const std::array<uint32_t, 3> values = {
        0,
        XCB_EVENT_MASK_KEY_PRESS | XCB_EVENT_MASK_KEY_RELEASE | XCB_EVENT_MASK_BUTTON_PRESS |
            XCB_EVENT_MASK_BUTTON_RELEASE | XCB_EVENT_MASK_POINTER_MOTION |
            XCB_EVENT_MASK_ENTER_WINDOW | XCB_EVENT_MASK_LEAVE_WINDOW |
            XCB_EVENT_MASK_FOCUS_CHANGE | XCB_EVENT_MASK_STRUCTURE_NOTIFY |
            XCB_EVENT_MASK_PROPERTY_CHANGE,
        colours};
    xcb_create_window(connection, depth_, window_, display.screen->root, 0, 0, width(), height(), 0,
                      XCB_WINDOW_CLASS_INPUT_OUTPUT, visual_,
                      XCB_CW_BORDER_PIXEL | XCB_CW_EVENT_MASK | XCB_CW_COLORMAP, values.data());
    graphics_ = xcb_generate_id(connection);
    const uint32_t no_exposures = 0;
    xcb_create_gc(connection, graphics_, window_, XCB_GC_GRAPHICS_EXPOSURES, &no_exposures);
    set_properties();
    if (display.present_opcode != 0) {
        xcb_present_select_input(connection, xcb_generate_id(connection), window_,
                                 XCB_PRESENT_EVENT_MASK_COMPLETE_NOTIFY);
    }
    xcb_map_window(connection, window_);
}

X11Window::~X11Window() {
    driver_.reset();
    drop_buffers();
    xcb_free_gc(display_.connection, graphics_);
    xcb_destroy_window(display_.connection, window_);
}

void X11Window::set_properties() {
    const Options& options = game_.options();
    xcb_connection_t* connection = display_.connection;
    set_common_properties(display_, window_, options, options.title);
    const xcb_atom_t delete_window = display_.atom("WM_DELETE_WINDOW");
    xcb_change_property(connection, XCB_PROP_MODE_REPLACE, window_, display_.atom("WM_PROTOCOLS"),
                        XCB_ATOM_ATOM, 32, 1, &delete_window);
    if (options.fixed_size) {
        xcb_size_hints_t hints{};
        xcb_icccm_size_hints_set_min_size(&hints, width_, height_);
        xcb_icccm_size_hints_set_max_size(&hints, width_, height_);
        xcb_icccm_set_wm_normal_hints(connection, window_, &hints);
    }
    if (options.fullscreen) {
        const xcb_atom_t fullscreen = display_.atom("_NET_WM_STATE_FULLSCREEN");
        xcb_change_property(connection, XCB_PROP_MODE_REPLACE, window_,
                            display_.atom("_NET_WM_STATE"), XCB_ATOM_ATOM, 32, 1, &fullscreen);
    }
}

Result<void> X11Window::make_buffers() {
    const Options& options = game_.options();
    auto images =
        create_images(options.buffers, width_, height_, options.sealable, options.shared_pool);
    if (!images) {
        return std::unexpected(images.error());
    }
    drop_buffers();
    for (ShmImage& image : *images) {
        if (options.paint == Paint::stripe) {
            paint_solid(image.pixels(), 0);
        }
        Buffer buffer{.image = std::move(image)};
        if (options.shared_pool && !buffers_.empty()) {
            buffer.segment = buffers_.front().segment;
        } else {
            buffer.segment = xcb_generate_id(display_.connection);
            buffer.owns_segment = true;
            // xcb closes the descriptor that it sends.
            UniqueFd fd = UniqueFd::duplicate(buffer.image.memory->fd());
            xcb_shm_attach_fd(display_.connection, buffer.segment, fd.take(), 1);
        }
        buffers_.push_back(std::move(buffer));
    }
    resized_ = false;
    return {};
}

void X11Window::drop_buffers() {
    for (const Buffer& buffer : buffers_) {
        if (buffer.owns_segment) {
            xcb_shm_detach(display_.connection, buffer.segment);
        }
    }
    buffers_.clear();
}

Result<void> X11Window::draw() {
    if (driver_) {
        return driver_->draw(game_, width_, height_);
    }
    if (resized_) {
        if (auto made = make_buffers(); !made) {
            return made;
        }
    }
    auto free_buffer =
        std::ranges::find_if(buffers_, [](const Buffer& buffer) { return !buffer.busy_since; });
    if (free_buffer == buffers_.end()) {
        game_.starve();
        return {};
    }
    const ShmImage& image = free_buffer->image;
    game_.paint_next(image.pixels());
    const bool full = game_.options().paint == Paint::full;
    const int lines = full ? height_ : std::min(height_, frame_code::kBlockHeight);
    const int columns = full ? width_ : std::min(width_, frame_code::kWidth);
    xcb_shm_put_image(display_.connection, window_, graphics_, width(), height(), 0, 0,
                      static_cast<uint16_t>(columns), static_cast<uint16_t>(lines), 0, 0, depth_,
                      XCB_IMAGE_FORMAT_Z_PIXMAP, 1, free_buffer->segment,
                      static_cast<uint32_t>(image.offset));
    free_buffer->busy_since = Clock::now();
    game_.frame_shown();
    if (game_.options().vsync) {
        request_vsync();
    }
    return {};
}

void X11Window::request_vsync() {
    // Completes at the next vertical blank of the server's clock, whatever its count is.
    xcb_present_notify_msc(display_.connection, window_, ++vsync_serial_, 0, 1, 0);
}

void X11Window::handle_configure(int width, int height) {
    if (width == width_ && height == height_) {
        return;
    }
    game_.report().write("configure", {{"width", width}, {"height", height}});
    if (!game_.options().fixed_size) {
        width_ = width;
        height_ = height;
        resized_ = true;
    }
}

void X11Window::handle_shm_completion(xcb_shm_seg_t segment, uint32_t offset) {
    for (Buffer& buffer : buffers_) {
        if (buffer.segment == segment && buffer.image.offset == offset && buffer.busy_since) {
            game_.buffer_released(Clock::now() - *buffer.busy_since);
            buffer.busy_since.reset();
        }
    }
}

X11Second::X11Second(const X11Display& display, Game& game, const X11Window& parent, Kind kind)
    : display_(display), window_(xcb_generate_id(display.connection)) {
    const bool dialog = kind == Kind::dialog;
    const std::array<uint32_t, 3> values = {dialog ? kDialogColour : kPopupColour, dialog ? 0U : 1U,
                                            XCB_EVENT_MASK_STRUCTURE_NOTIFY};
    // The menu right below the codes, so that they stay readable.
    xcb_create_window(display.connection, XCB_COPY_FROM_PARENT, window_, display.screen->root, 0,
                      dialog ? 0 : frame_code::kBlockHeight, dialog ? kDialogWidth : kPopupWidth,
                      dialog ? kDialogHeight : kPopupHeight, 0, XCB_WINDOW_CLASS_INPUT_OUTPUT,
                      display.screen->root_visual,
                      XCB_CW_BACK_PIXEL | XCB_CW_OVERRIDE_REDIRECT | XCB_CW_EVENT_MASK,
                      values.data());
    set_common_properties(display, window_, game.options(), dialog ? "Dialog" : "Menu");
    xcb_icccm_set_wm_transient_for(display.connection, window_, parent.id());
    const xcb_atom_t type =
        display.atom(dialog ? "_NET_WM_WINDOW_TYPE_DIALOG" : "_NET_WM_WINDOW_TYPE_POPUP_MENU");
    xcb_change_property(display.connection, XCB_PROP_MODE_REPLACE, window_,
                        display.atom("_NET_WM_WINDOW_TYPE"), XCB_ATOM_ATOM, 32, 1, &type);
    const xcb_atom_t delete_window = display.atom("WM_DELETE_WINDOW");
    xcb_change_property(display.connection, XCB_PROP_MODE_REPLACE, window_,
                        display.atom("WM_PROTOCOLS"), XCB_ATOM_ATOM, 32, 1, &delete_window);
    xcb_map_window(display.connection, window_);
    game.report().write(dialog ? "dialog_shown" : "popup_shown");
}

}  // namespace stepscope::testgame
