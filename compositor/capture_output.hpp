// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/refresh_rate.hpp"
#include "buffer_fences.hpp"
#include "buffer_lending.hpp"
#include "captured_frame.hpp"
#include "commit_gate.hpp"
#include "consumer_formats.hpp"
#include "cursor_plane.hpp"
#include "listener.hpp"
#include "memory_wait.hpp"
#include "pacer.hpp"
#include "picture_ring.hpp"
#include "renderer.hpp"
#include "session_clock.hpp"
#include "spare_picture.hpp"

namespace stepscope {

/** Limits of a side of the output, in pixels. */
inline constexpr unsigned kMinOutputSide = 16;
inline constexpr unsigned kMaxOutputSide = 16384;

/**
 * A wlr_output that is no screen: a commit to it is a captured frame. It takes the buffer of a lone
 * surface of its size as it is ("direct scan-out"), so that the frame is the memory that the game
 * drew into. Anything else is drawn once into a ring of buffers of our own.
 *
 * Implements its own wlr_backend because the stock headless one counts in whole milliseconds.
 */
class CaptureOutput {
public:
    CaptureOutput(wl_display* display, wlr_scene* scene, const Renderer& renderer,
                  BufferLending& lending, const SessionClock& clock);
    CaptureOutput(const CaptureOutput&) = delete;
    CaptureOutput& operator=(const CaptureOutput&) = delete;
    ~CaptureOutput();

    /** Who gets the frames. Borrowed; nobody may come or go while a frame is given out. */
    void add_sink(FrameSink* sink) { sinks_.push_back(sink); }
    void remove_sink(FrameSink* sink) { std::erase(sinks_, sink); }

    /** Lights the output up or changes it; sides within kMinOutputSide and kMaxOutputSide. */
    Result<void> set_mode(unsigned width, unsigned height, const RefreshRate& rate);
    void set_adaptive_sync(bool adaptive) { pacer_.set_adaptive(adaptive); }

    /** Draw the cursor into the picture while at least one caller wants it. */
    void add_embedded_cursor_user();
    void remove_embedded_cursor_user();
    /** The cursor, hidden where it is drawn into the picture. */
    const CursorPlane& cursor() const { return cursor_; }
    /** CursorPlane::pixels(). */
    const std::vector<uint32_t>& cursor_pixels() { return cursor_.pixels(renderer_.renderer()); }

    /**
     * Lock-step: from now on pictures are shown by finish_step() alone, and a game's commit after
     * the first one waits for the next step.
     */
    void set_stepped(bool stepped) { stepped_ = stepped; }
    /** Lets the game go on: its next commit may come, its frame callbacks are answered. */
    void begin_step();
    /** Whose windows gather what others draw: it gets its frame callbacks at a step's end. */
    void set_display_server(std::function<wl_client*()> client) {
        display_server_ = std::move(client);
    }
    bool has_display_server() const { return display_server_ && display_server_() != nullptr; }
    bool is_display_server(const wl_client* client) const {
        return has_display_server() && display_server_() == client;
    }
    /** That end: time stands still. False if it shows no window. */
    bool ask_display_server();
    /** Shows what the step drew; `shown` is called, now or once consumers returned memory, with
     * whether it was a new picture. */
    void finish_step(const StepTime& step, std::function<void(bool presented)> shown);

    /** A step's picture waits for memory. */
    bool showing_step() const { return step_.has_value(); }
    /** A window is about to go, and takes what it shows with it: that is the picture of the step,
     * if it was not seen yet. */
    void show_before_it_goes(const StepTime& step);
    /** Whether that was so in this step. */
    bool showed_what_went(uint64_t step) const { return step != 0 && shown_early_ == step; }

    /** What consumers can read; see ConsumerFormats::set(). */
    void set_readable(std::optional<std::vector<PictureLayout>> readable);
    /** Where games are told what to allocate. Borrowed. */
    void set_feedback(wlr_linux_dmabuf_v1* dmabuf) { formats_.set_feedback(dmabuf); }

    /** Commit again although nothing changed: somebody needs the current picture. */
    void request_picture();
    /** Consumers gave memory back: a frame that waited for it can go on. */
    void handle_memory_returned();

    wlr_output* output() { return &output_; }
    wlr_backend* backend() { return &backend_; }
    unsigned width() const { return static_cast<unsigned>(output_.width); }
    unsigned height() const { return static_cast<unsigned>(output_.height); }
    const RefreshRate& rate() const { return pacer_.rate(); }

private:
    bool is_display_servers(wlr_surface* surface) const;
    bool send_frame_callbacks(bool display_server);
    static bool test(wlr_output* output, const wlr_output_state* state);
    static bool commit(wlr_output* output, const wlr_output_state* state);
    static bool set_cursor(wlr_output* output, wlr_buffer* buffer, int hotspot_x, int hotspot_y);
    static bool move_cursor(wlr_output* output, int x, int y);
    static int get_drm_fd(wlr_backend* backend);
    static const wlr_drm_format_set* get_primary_formats(wlr_output* output, uint32_t buffer_caps);

    void handle_frame_event();
    void handle_tick(int64_t beat_ns);
    void show_frame(int64_t now_ns);
    void expect_next_frame();
    bool test_state(const wlr_output_state& state);
    void publish(const wlr_output_state& state, wlr_surface* lone);
    void draw_again_after(SyncFile unfinished);
    wlr_surface* find_lone_surface(size_t* visible_nodes) const;
    Result<void> fit_ring(int width, int height);
    FrameReason reason_for_composing(size_t visible_nodes) const;

    // Before output_, which is finished in the destructor's body.
    const Renderer& renderer_;
    BufferLending& lending_;
    const SessionClock& clock_;
    ConsumerFormats formats_;
    SparePicture spare_;
    CursorPlane cursor_;
    std::vector<FrameSink*> sinks_;
    wl_event_loop* loop_;
    wlr_backend backend_{};
    wlr_output output_{};
    wlr_scene_output* scene_output_ = nullptr;
    Pacer pacer_;
    PictureRing ring_;
    MemoryWait memory_wait_;
    CommitGate gate_;
    std::function<wl_client*()> display_server_;
    Listener frame_;

    /** Where the renderer can't wait: until the game has drawn what we draw from. */
    std::unique_ptr<FenceWait> drawing_wait_;
    std::optional<FrameReason> rejection_;
    uint64_t commit_number_ = 0;
    int64_t now_ns_ = 0;
    uint32_t passed_fourcc_ = DRM_FORMAT_XRGB8888;
    bool lost_frame_ = false;

    bool stepped_ = false;
    std::optional<int64_t> beat_ns_;  // while a tick of the pacer is handled
    std::optional<StepTime> step_;    // being shown
    std::function<void(bool)> step_shown_;
    bool last_chance_ = false;  // what is shown now can't be shown later
    uint64_t shown_early_ = 0;  // step whose picture was shown before its end
};

}  // namespace stepscope
