// SPDX-License-Identifier: LGPL-2.1-or-later
#include "capture_output.hpp"

#include <algorithm>
#include <format>

#include "log.hpp"
#include "scene_fences.hpp"

namespace stepscope {
namespace {

constexpr uint32_t kSupportedState =
    WLR_OUTPUT_STATE_BACKEND_OPTIONAL | WLR_OUTPUT_STATE_BUFFER | WLR_OUTPUT_STATE_ENABLED |
    WLR_OUTPUT_STATE_MODE | WLR_OUTPUT_STATE_WAIT_TIMELINE | WLR_OUTPUT_STATE_SIGNAL_TIMELINE;

CaptureOutput* self_of(wlr_output* output) {
    return static_cast<CaptureOutput*>(output->data);
}

bool covers(const wlr_fbox& box, const wlr_buffer& buffer) {
    return box.x == 0 && box.y == 0 && box.width == buffer.width && box.height == buffer.height;
}

struct VisibleNodes {
    size_t count = 0;
    wlr_scene_buffer* last = nullptr;
};

void count_visible(wlr_scene_buffer* buffer, int /*sx*/, int /*sy*/, void* data) {
    auto* nodes = static_cast<VisibleNodes*>(data);
    // A buffer that others cover altogether has no primary output.
    if (buffer->buffer != nullptr && buffer->primary_output != nullptr) {
        ++nodes->count;
        nodes->last = buffer;
    }
}

}  // namespace

CaptureOutput::CaptureOutput(wl_display* display, wlr_scene* scene, const Renderer& renderer,
                             BufferLending& lending, const SessionClock& clock)
    : renderer_(renderer),
      lending_(lending),
      clock_(clock),
      formats_(renderer),
      spare_(renderer, lending),
      loop_(wl_display_get_event_loop(display)),
      pacer_(loop_, [this](int64_t beat_ns) { handle_tick(beat_ns); }),
      ring_(renderer),
      memory_wait_(loop_, lending, [this] { request_picture(); }) {
    static const wlr_backend_impl backend_impl{
        .start = nullptr,
        .destroy = nullptr,
        .get_drm_fd = get_drm_fd,
        .test = nullptr,
        .commit = nullptr,
    };
    static const wlr_output_impl output_impl{
        .set_cursor = set_cursor,
        .move_cursor = move_cursor,
        .destroy = nullptr,
        .test = test,
        .commit = commit,
        .get_gamma_size = nullptr,
        .get_cursor_formats = nullptr,
        .get_cursor_sizes = nullptr,
        .get_primary_formats = get_primary_formats,
    };
    wlr_backend_init(&backend_, &backend_impl);
    backend_.buffer_caps = WLR_BUFFER_CAP_DATA_PTR | WLR_BUFFER_CAP_DMABUF | WLR_BUFFER_CAP_SHM;
    backend_.features.timeline = renderer.timeline_device() >= 0;
    wlr_output_init(&output_, &backend_, &output_impl, loop_, nullptr);
    output_.data = this;
    wlr_output_set_name(&output_, "STEPSCOPE-1");
    wlr_output_set_description(&output_, "Stepscope capture output");
    wlr_output_init_render(&output_, renderer.allocator(), renderer.renderer());
    scene_output_ = wlr_scene_output_create(scene, &output_);
    frame_.connect(output_.events.frame, [this](void*) { handle_frame_event(); });
    lending_.set_probe_done([this] { request_picture(); });
}

CaptureOutput::~CaptureOutput() {
    frame_.disconnect();
    lending_.set_probe_done({});
    wlr_scene_output_destroy(scene_output_);
    wlr_output_finish(&output_);
    wlr_backend_finish(&backend_);
}

int CaptureOutput::get_drm_fd(wlr_backend* backend) {
    CaptureOutput* self = nullptr;
    self = wl_container_of(backend, self, backend_);
    return self->renderer_.drm_fd();
}

const wlr_drm_format_set* CaptureOutput::get_primary_formats(wlr_output* output,
                                                             uint32_t buffer_caps) {
    const bool dmabuf = (buffer_caps & uint32_t{WLR_BUFFER_CAP_DMABUF}) != 0;
    return dmabuf ? self_of(output)->formats_.for_games() : nullptr;
}

void CaptureOutput::set_readable(std::optional<std::vector<PictureLayout>> readable) {
    if (formats_.set(std::move(readable))) {
        ring_.expire();
        wlr_damage_ring_add_whole(&scene_output_->damage_ring);
        request_picture();
    }
}

// The consumer should not see its format change only because a dialog opened.
Result<void> CaptureOutput::fit_ring(int width, int height) {
    return ring_.fit(width, height, formats_.ring_format(passed_fourcc_), formats_);
}

Result<void> CaptureOutput::set_mode(unsigned width, unsigned height, const RefreshRate& rate) {
    pacer_.set_rate(rate);
    if (auto made = fit_ring(static_cast<int>(width), static_cast<int>(height)); !made) {
        return made;
    }
    wlr_output_state state;
    wlr_output_state_init(&state);
    wlr_output_state_set_enabled(&state, true);
    wlr_output_state_set_custom_mode(&state, static_cast<int32_t>(width),
                                     static_cast<int32_t>(height), rate.millihertz());
    wlr_scene_output_state_options options{};
    options.swapchain = ring_.get();
    now_ns_ = monotonic_ns();
    rejection_.reset();
    const bool done = wlr_scene_output_build_state(scene_output_, &state, &options) &&
                      wlr_output_commit_state(&output_, &state);
    wlr_output_state_finish(&state);
    if (!done) {
        return fail(Fault::system, std::format("the {} renderer can't make an output of {}x{}",
                                               renderer_.name(), width, height));
    }
    expect_next_frame();
    request_picture();
    return {};
}

// After a commit wlroots sends no frame event until the backend has shown it.
void CaptureOutput::expect_next_frame() {
    output_.frame_pending = !rate().unlimited() && !stepped_;
    if (output_.frame_pending) {
        pacer_.arm();
    }
}

void CaptureOutput::add_embedded_cursor_user() {
    wlr_output_lock_software_cursors(&output_, true);
    request_picture();
}

void CaptureOutput::remove_embedded_cursor_user() {
    wlr_output_lock_software_cursors(&output_, false);
    if (output_.software_cursor_locks == 0) {
        // wlroots draws it on until its image changes. It is off the picture already: we accept
        // any cursor as a plane.
        wlr_output_cursor* cursor = nullptr;
        wl_list_for_each(cursor, &output_.cursors, link) {
            if (cursor->enabled) {
                output_.hardware_cursor = cursor;
                cursor_.move(static_cast<int>(cursor->x), static_cast<int>(cursor->y));
                if (cursor->texture != nullptr) {
                    cursor_.show(cursor->texture, cursor->hotspot_x, cursor->hotspot_y);
                }
            }
        }
        wlr_damage_ring_add_whole(&scene_output_->damage_ring);
    }
    request_picture();
}

void CaptureOutput::request_picture() {
    wlr_output_schedule_frame(&output_);
}

void CaptureOutput::handle_memory_returned() {
    if (memory_wait_.waits() || lost_frame_) {
        lost_frame_ = false;
        request_picture();
    }
}

// The scene asks for frames as soon as something changed. A frame off the beat waits for it.
void CaptureOutput::handle_frame_event() {
    if (!wlr_scene_output_needs_frame(scene_output_)) {
        return;
    }
    // What is shown on the beat has the beat's time, not that of our getting to it.
    const int64_t now_ns = beat_ns_.value_or(monotonic_ns());
    if (stepped_) {
        if (step_) {
            show_frame(now_ns);  // it had to wait for memory
        }
        return;
    }
    if (!pacer_.due(now_ns)) {
        expect_next_frame();
        return;
    }
    show_frame(now_ns);
}

void CaptureOutput::handle_tick(int64_t beat_ns) {
    beat_ns_ = beat_ns;
    wlr_output_send_frame(&output_);
    beat_ns_.reset();
}

wlr_surface* CaptureOutput::find_lone_surface(size_t* visible_nodes) const {
    VisibleNodes nodes;
    wlr_scene_output_for_each_buffer(scene_output_, count_visible, &nodes);
    *visible_nodes = nodes.count;
    if (nodes.count != 1) {
        return nullptr;
    }
    wlr_scene_surface* surface = wlr_scene_surface_try_from_buffer(nodes.last);
    return surface != nullptr ? surface->surface : nullptr;
}

void CaptureOutput::show_frame(int64_t now_ns) {
    size_t visible_nodes = 0;
    wlr_surface* lone = find_lone_surface(&visible_nodes);
    if (memory_wait_.must_wait(lone, now_ns)) {
        if (!last_chance_) {
            return;
        }
        memory_wait_.end();  // it is copied instead
    }
    // Without a beat of our own every picture counts, also of a game that is faster than we are.
    // In a step a display server's last word counts: it is asked for it at the end. And a picture
    // that is waited for must not be replaced by one that has to be waited for again.
    const bool every_picture = rate().unlimited() || (stepped_ && !is_display_servers(lone));
    gate_.guard(every_picture || drawing_wait_ ? lone : nullptr);
    now_ns_ = now_ns;
    const int64_t game_now_ns = clock_.time_of(now_ns);
    const uint64_t previous_commit = commit_number_;
    rejection_.reset();
    if (auto made = fit_ring(output_.width, output_.height); !made) {
        log("{}", made.error().message);
        return;
    }
    if (lone != nullptr) {
        formats_.tell(lone, &output_);
    }
    std::optional<SyncFile> unfinished;
    if (!renderer_.knows_fences()) {
        take_fences_from_scene(scene_output_);
        // Before the drawing: a game may be done by the end of it, and the picture half of before.
        unfinished = pending_in_scene(scene_output_);
    }
    wlr_output_state state;
    wlr_output_state_init(&state);
    wlr_scene_output_state_options options{};
    options.swapchain = ring_.get();
    const bool built = wlr_scene_output_build_state(scene_output_, &state, &options);
    if (built && ring_.has(state.buffer)) {
        if (unfinished) {
            gate_.guard(lone);
            draw_again_after(std::move(*unfinished));
            wlr_output_state_finish(&state);
            return;
        }
        renderer_.finish_drawing();
    }
    drawing_wait_.reset();
    const bool committed = built && wlr_output_commit_state(&output_, &state);
    if (committed) {
        const bool passed = !ring_.has(state.buffer);
        if (!passed && !rejection_) {
            rejection_ = reason_for_composing(visible_nodes);
        }
        publish(state, lone);
        if (lone != nullptr) {
            lending_.note_delivered(lone, state.buffer, now_ns);
        }
        wlr_output_event_present event{};
        event.commit_seq = output_.commit_seq;
        event.presented = true;
        event.when = to_timespec(game_now_ns);
        event.refresh = rate().unlimited() ? 0 : static_cast<int>(rate().period_start_ns(1));
        event.flags = passed ? uint32_t{WLR_OUTPUT_PRESENT_ZERO_COPY} : 0U;
        wlr_output_send_present(&output_, &event);
    } else {
        lost_frame_ = true;
        for (FrameSink* sink : sinks_) {
            if (!stepped_) {
                sink->handle_lost_frame();
            }
        }
    }
    wlr_output_state_finish(&state);
    spare_.give_game_a_buffer(lone);
    if (stepped_) {
        output_.frame_pending = false;
        if (!committed) {
            return;  // until memory comes back: in lock-step no picture is lost
        }
        step_.reset();
        if (auto shown = std::exchange(step_shown_, {})) {
            shown(commit_number_ != previous_commit);
        }
        return;
    }
    pacer_.mark(now_ns);
    expect_next_frame();
    // The game goes on in any case: its time must not depend on who watches.
    timespec when = to_timespec(game_now_ns);
    wlr_scene_output_send_frame_done(scene_output_, &when);
    gate_.handle_shown();
}

void CaptureOutput::begin_step() {
    gate_.handle_shown();
    send_frame_callbacks(false);
}

bool CaptureOutput::ask_display_server() {
    return send_frame_callbacks(true);
}

bool CaptureOutput::is_display_servers(wlr_surface* surface) const {
    return surface != nullptr && is_display_server(wl_resource_get_client(surface->resource));
}

bool CaptureOutput::send_frame_callbacks(bool display_server) {
    struct Round {
        CaptureOutput* self;
        bool display_server;
        wlr_scene_frame_done_event event;
        bool sent = false;
    };
    Round round{this, display_server, {scene_output_, to_timespec(clock_.now_ns())}};
    wlr_scene_output_for_each_buffer(
        scene_output_,
        [](wlr_scene_buffer* buffer, int, int, void* data) {
            auto* call = static_cast<Round*>(data);
            const wlr_scene_surface* shown = wlr_scene_surface_try_from_buffer(buffer);
            wlr_surface* surface = shown != nullptr ? shown->surface : nullptr;
            if (call->self->is_display_servers(surface) == call->display_server) {
                wlr_scene_buffer_send_frame_done(buffer, &call->event);
                call->sent = true;
            }
        },
        &round);
    return round.sent;
}

void CaptureOutput::show_before_it_goes(const StepTime& step) {
    if (step_ || shown_early_ == step.step || !wlr_scene_output_needs_frame(scene_output_)) {
        return;
    }
    step_ = step;
    step_shown_ = [this, number = step.step](bool presented) {
        shown_early_ = presented ? number : shown_early_;
    };
    last_chance_ = true;
    show_frame(monotonic_ns());
    last_chance_ = false;
    step_.reset();
    step_shown_ = {};
}

void CaptureOutput::finish_step(const StepTime& step, std::function<void(bool presented)> shown) {
    if (showed_what_went(step.step)) {
        shown(true);  // what there is now is the next step's
        return;
    }
    if (!wlr_scene_output_needs_frame(scene_output_)) {
        shown(false);
        return;
    }
    step_ = step;
    step_shown_ = std::move(shown);
    show_frame(monotonic_ns());
}

FrameReason CaptureOutput::reason_for_composing(size_t visible_nodes) const {
    if (output_.software_cursor_locks > 0) {
        const wlr_output_cursor* cursor = nullptr;
        wl_list_for_each(cursor, &output_.cursors, link) {
            if (cursor->enabled && cursor->visible) {
                return STEPSCOPE_CAPTURE_V1_REASON_CURSOR;
            }
        }
    }
    if (visible_nodes == 0) {
        return STEPSCOPE_CAPTURE_V1_REASON_NO_WINDOW;
    }
    if (visible_nodes > 1) {
        return STEPSCOPE_CAPTURE_V1_REASON_WINDOWS;
    }
    return STEPSCOPE_CAPTURE_V1_REASON_OTHER;
}

bool CaptureOutput::test(wlr_output* output, const wlr_output_state* state) {
    return self_of(output)->test_state(*state);
}

// Called for a buffer of the game's that might pass through, and for the ring's own.
bool CaptureOutput::test_state(const wlr_output_state& state) {
    if ((state.committed & ~kSupportedState) != 0) {
        return false;
    }
    if ((state.committed & WLR_OUTPUT_STATE_BUFFER) == 0 || ring_.has(state.buffer)) {
        return true;
    }
    auto reject = [&](FrameReason reason) {
        rejection_ = reason;
        return false;
    };
    if (wlr_client_buffer_get(state.buffer) != nullptr) {
        // The game has its buffer back already; what is left is a picture of the renderer's.
        return reject(STEPSCOPE_CAPTURE_V1_REASON_HELD);
    }
    const wlr_buffer& buffer = *state.buffer;
    const wlr_box& target = state.buffer_dst_box;
    const bool whole_source =
        wlr_fbox_empty(&state.buffer_src_box) || covers(state.buffer_src_box, buffer);
    if (!whole_source || buffer.width != output_.width || buffer.height != output_.height ||
        target.x != 0 || target.y != 0 || target.width != output_.width ||
        target.height != output_.height) {
        return reject(STEPSCOPE_CAPTURE_V1_REASON_SIZE);
    }
    auto memory = describe_buffer(state.buffer, Owner::game);
    if (!memory) {
        return reject(memory.error().fault == Fault::unsupported
                          ? STEPSCOPE_CAPTURE_V1_REASON_FORMAT
                          : STEPSCOPE_CAPTURE_V1_REASON_NOT_SHAREABLE);
    }
    if (!formats_.accepts(*memory)) {
        return reject(STEPSCOPE_CAPTURE_V1_REASON_FORMAT);
    }
    if (lending_.may_lend(state.buffer) != BufferLending::Answer::lend) {
        return reject(STEPSCOPE_CAPTURE_V1_REASON_HELD);
    }
    passed_fourcc_ = memory->fourcc;
    return true;
}

bool CaptureOutput::commit(wlr_output* /*output*/, const wlr_output_state* state) {
    if ((state->committed & ~kSupportedState) != 0) {
        return false;
    }
    if ((state->committed & WLR_OUTPUT_STATE_SIGNAL_TIMELINE) != 0) {
        // The output itself is done at once. Who holds the buffer longer is ReleasePoints'
        // business: points of this one timeline could not be signalled out of order.
        wlr_drm_syncobj_timeline_signal(state->signal_timeline, state->signal_point);
    }
    return true;
}

// Accepting the cursor as a plane of its own keeps it out of the picture at no cost.
bool CaptureOutput::set_cursor(wlr_output* output, wlr_buffer* buffer, int hotspot_x,
                               int hotspot_y) {
    self_of(output)->cursor_.show(buffer, hotspot_x, hotspot_y);
    return true;
}

bool CaptureOutput::move_cursor(wlr_output* output, int x, int y) {
    self_of(output)->cursor_.move(x, y);
    return true;
}

// The picture was drawn from what games had not finished, by a renderer that does not wait: it is
// thrown away.
void CaptureOutput::draw_again_after(SyncFile unfinished) {
    wlr_damage_ring_add_whole(&scene_output_->damage_ring);
    drawing_wait_ =
        std::make_unique<FenceWait>(loop_, std::move(unfinished), [this] { request_picture(); });
}

void CaptureOutput::publish(const wlr_output_state& state, wlr_surface* lone) {
    if (sinks_.empty() || state.buffer == nullptr) {
        return;
    }
    const bool passed = !ring_.has(state.buffer);
    auto memory = describe_buffer(state.buffer, passed ? Owner::game : Owner::compositor);
    if (!memory) {
        log("a composed picture can't be shared: {}", memory.error().message);
        return;
    }
    pixman_region32_t none;
    pixman_region32_init(&none);
    CapturedFrame frame;
    frame.damage = (state.committed & WLR_OUTPUT_STATE_DAMAGE) != 0 ? &state.damage : &none;
    if (pixman_region32_not_empty(frame.damage) || commit_number_ == 0) {
        ++commit_number_;
    }
    frame.buffer = state.buffer;
    frame.memory = *memory;
    frame.commit = commit_number_;
    frame.presented_ns = now_ns_;
    frame.step = step_;
    std::optional<SyncFile> acquire;
    if (passed && lone != nullptr) {
        acquire = acquire_fence(lone, state.buffer);
    } else if ((state.committed & WLR_OUTPUT_STATE_WAIT_TIMELINE) != 0) {
        acquire = point_fence(state.wait_timeline, state.wait_point);
    } else {
        acquire = implicit_fence(state.buffer, BufferAccess::read);
    }
    frame.acquire = acquire ? &*acquire : nullptr;
    if (passed) {
        frame.path = STEPSCOPE_CAPTURE_V1_PATH_PASSED_THROUGH;
        frame.reason = STEPSCOPE_CAPTURE_V1_REASON_NONE;
    } else {
        frame.reason = rejection_.value_or(STEPSCOPE_CAPTURE_V1_REASON_OTHER);
        const bool one_full_picture = frame.reason == STEPSCOPE_CAPTURE_V1_REASON_NOT_SHAREABLE ||
                                      frame.reason == STEPSCOPE_CAPTURE_V1_REASON_HELD ||
                                      frame.reason == STEPSCOPE_CAPTURE_V1_REASON_FORMAT;
        frame.path = one_full_picture ? STEPSCOPE_CAPTURE_V1_PATH_COPIED
                                      : STEPSCOPE_CAPTURE_V1_PATH_COMPOSED;
    }
    for (FrameSink* sink : sinks_) {
        sink->handle_frame(frame);
    }
    pixman_region32_fini(&none);
}

}  // namespace stepscope
