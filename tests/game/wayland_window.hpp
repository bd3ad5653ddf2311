// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "game.hpp"
#include "graphics.hpp"
#include "shm_memory.hpp"
#include "wl_ptr.hpp"

namespace stepscope::testgame {

/** A wl_buffer in shared memory, and whether the compositor has it. Stays where it is. */
class WaylandBuffer {
public:
    /** `game`, where not null, is told of releases. */
    WaylandBuffer(const WaylandGlobals& globals, ShmImage image, uint32_t format, Game* game);
    WaylandBuffer(const WaylandBuffer&) = delete;
    WaylandBuffer& operator=(const WaylandBuffer&) = delete;

    frame_code::Pixels pixels() const { return image_.pixels(); }
    bool busy() const { return busy_since_.has_value(); }
    /** Attaches to the surface; busy until the compositor releases it. */
    void attach(wl_surface* surface);

private:
    ShmImage image_;
    WlPtr<wl_buffer> buffer_;
    Game* game_;
    std::optional<TimePoint> busy_since_;
};

/** The window that the game draws into. */
class WaylandWindow {
public:
    WaylandWindow(const WaylandGlobals& globals, Game& game);
    WaylandWindow(const WaylandWindow&) = delete;
    WaylandWindow& operator=(const WaylandWindow&) = delete;

    wl_surface* surface() const { return surface_.get(); }
    xdg_surface* shell_surface() const { return shell_surface_.get(); }
    xdg_toplevel* toplevel() const { return toplevel_.get(); }
    bool configured() const { return configured_; }

    /** Draw with this and not in shared memory; before the first draw(). */
    void set_graphics(std::unique_ptr<Graphics> graphics) { graphics_ = std::move(graphics); }

    /** Draws and commits the next frame, or counts as starved where no buffer is free. */
    Result<void> draw();

private:
    struct Feedback {
        WlPtr<PresentationFeedback> handle;
        uint32_t number = 0;
    };

    void handle_configure(uint32_t serial);
    Result<void> make_buffers();
    void request_frame_callback();
    void request_feedback(uint32_t number);

    static const xdg_surface_listener kSurfaceListener;
    static const xdg_toplevel_listener kToplevelListener;
    static const wl_callback_listener kFrameListener;
    static const wp_presentation_feedback_listener kFeedbackListener;

    const WaylandGlobals& globals_;
    Game& game_;
    int width_;
    int height_;
    int pending_width_ = 0;
    int pending_height_ = 0;
    bool pending_fullscreen_ = false;
    bool pending_activated_ = false;
    bool configured_ = false;
    bool resized_ = true;

    WlPtr<wl_surface> surface_;
    WlPtr<xdg_surface> shell_surface_;
    WlPtr<xdg_toplevel> toplevel_;
    std::unique_ptr<Graphics> graphics_;
    std::vector<std::unique_ptr<WaylandBuffer>> buffers_;
    WlPtr<wl_callback> frame_callback_;
    std::unordered_map<PresentationFeedback*, Feedback> feedbacks_;
};

/** A dialog or a menu: one picture, shown until the object ends. */
class WaylandSecond {
public:
    enum class Kind { dialog, popup };

    static Result<std::unique_ptr<WaylandSecond>> open(const WaylandGlobals& globals, Game& game,
                                                       const WaylandWindow& parent, Kind kind);
    WaylandSecond(const WaylandSecond&) = delete;
    WaylandSecond& operator=(const WaylandSecond&) = delete;

    /** The compositor or the user closed it. */
    bool dismissed() const { return dismissed_; }

private:
    WaylandSecond(const WaylandGlobals& globals, Game& game, const WaylandWindow& parent, Kind kind,
                  const ShmImage& image);
    void make_dialog(const WaylandWindow& parent);
    void make_popup(const WaylandGlobals& globals, const WaylandWindow& parent,
                    const ShmImage& image);

    static const xdg_surface_listener kSurfaceListener;
    static const xdg_toplevel_listener kToplevelListener;
    static const xdg_popup_listener kPopupListener;

    Game& game_;
    Kind kind_;
    bool shown_ = false;
    bool dismissed_ = false;
    WlPtr<wl_surface> surface_;
    WlPtr<xdg_surface> shell_surface_;
    WlPtr<xdg_toplevel> toplevel_;
    WlPtr<xdg_popup> popup_;
    WaylandBuffer buffer_;
};

}  // namespace stepscope::testgame
