// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_video.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include <spa/node/command.h>

#include "log.hpp"

namespace stepscope {
namespace {

/** Without a free buffer for so long, all of them are given up and new ones made. */
constexpr int64_t kStarvedNs = 1'000'000'000;
constexpr int kShortestPollMs = 1;
constexpr int kLongestPollMs = 16;

}  // namespace

const pw_stream_events PipewireVideo::kEvents{
    .version = PW_VERSION_STREAM_EVENTS,
    .destroy = nullptr,
    .state_changed = handle_state,
    .control_info = nullptr,
    .io_changed = handle_io,
    .param_changed = handle_parameter,
    .add_buffer = handle_add_buffer,
    .remove_buffer = handle_remove_buffer,
    .process = nullptr,
    .drained = nullptr,
    .command = handle_command,
    .trigger_done = handle_cycle_end,
};

PipewireVideo::PipewireVideo(wl_event_loop* loop, Settings settings,
                             const PictureServices& services, PipewireRegistry& registry,
                             std::function<void()> changed)
    : loop_(loop),
      settings_(std::move(settings)),
      services_(services),
      output_(services.output),
      drawing_(services.renderer),
      pool_(loop, {services.lending, services.returns}, drawing_,
            services.renderer.timeline_device(), [this] { output_.handle_memory_returned(); }),
      registry_(registry),
      changed_(std::move(changed)),
      offer_(services.output, services.renderer, settings_.demand),
      poll_timer_(wl_event_loop_add_timer(loop, handle_poll, this)),
      due_timer_(wl_event_loop_add_timer(loop, handle_due, this)) {
    output_.add_sink(this);
}

PipewireVideo::~PipewireVideo() {
    output_.remove_sink(this);
    disconnect();
}

void PipewireVideo::connect(pw_core* core) {
    stream_.reset(pw_stream_new(
        core, settings_.node.c_str(),
        pw_properties_new(PW_KEY_MEDIA_TYPE, "Video", PW_KEY_MEDIA_CATEGORY, "Capture",
                          PW_KEY_MEDIA_ROLE, "Game", PW_KEY_MEDIA_CLASS, "Video/Source",
                          PW_KEY_NODE_NAME, settings_.node.c_str(), PW_KEY_NODE_DESCRIPTION,
                          settings_.description.c_str(), PW_KEY_MEDIA_NAME,
                          settings_.session.c_str(), "stepscope.session", settings_.session.c_str(),
                          // Consumers may have pictures on request alone.
                          "node.supports-lazy", "1", nullptr)));
    if (!stream_) {
        log("PipeWire: no video node: {}", std::strerror(errno));
        return;
    }
    pw_stream_add_listener(stream_.get(), hook_.take(), &kEvents, this);
    cycle_.use(stream_.get());
    Pods pods;
    add_formats(pods, offer_.current(), std::nullopt);
    const int result = pw_stream_connect(
        stream_.get(), PW_DIRECTION_OUTPUT, PW_ID_ANY,
        static_cast<pw_stream_flags>(PW_STREAM_FLAG_DRIVER | PW_STREAM_FLAG_ALLOC_BUFFERS |
                                     PW_STREAM_FLAG_NO_CONVERT),
        pods.data(), pods.size());
    if (result < 0) {
        log("PipeWire: no video node: {}", std::strerror(-result));
        disconnect();
    }
}

void PipewireVideo::disconnect() {
    if (idle_ != nullptr) {
        wl_event_source_remove(std::exchange(idle_, nullptr));
    }
    streaming_ = false;
    cycle_.stop();
    if (serial_ != 0) {
        registry_.forget(pw_stream_get_node_id(stream_.get()));
    }
    drop_undrawn();
    stream_.reset();  // gives the buffers back, by events that hook_ listens to
    hook_.forget();
    pool_.clear();
    format_.reset();
    exclusive_ = false;
    serial_ = 0;
}

bool PipewireVideo::linked() const {
    return serial_ != 0 && registry_.count_links(pw_stream_get_node_id(stream_.get())) > 0;
}

// Also makes PipeWire negotiate anew, with new buffers.
void PipewireVideo::announce_formats(const std::optional<VideoFormat>& fixed) {
    renegotiate_at_ns_ = 0;
    must_renegotiate_ = false;
    renegotiating_ = renegotiating_ || streaming_;
    Pods pods;
    add_formats(pods, offer_.current(), fixed);
    pw_stream_update_params(stream_.get(), pods.data(), pods.size());
}

void PipewireVideo::handle_state(void* data, pw_stream_state /*old*/, pw_stream_state state,
                                 const char* error) {
    auto* self = static_cast<PipewireVideo*>(data);
    const bool streaming = state == PW_STREAM_STATE_STREAMING;
    if (self->serial_ == 0 && state >= PW_STREAM_STATE_PAUSED) {
        self->serial_ = object_serial(&pw_stream_get_properties(self->stream_.get())->dict);
        self->registry_.remember_parameters(pw_stream_get_node_id(self->stream_.get()));
        self->changed_();
    }
    if (state == PW_STREAM_STATE_ERROR) {
        const char* reason = error != nullptr ? error : "no reason given";
        if (pw_stream_get_state(self->stream_.get(), nullptr) != PW_STREAM_STATE_ERROR) {
            // About one of its links: a consumer wants what there is not. The others go on.
            log("PipeWire: a consumer can't be linked: {}", reason);
            return;
        }
        log("PipeWire: the video node failed: {}", reason);
    }
    if (streaming == self->streaming_) {
        return;
    }
    self->streaming_ = streaming;
    self->cycle_.end();
    if (streaming) {
        // Who was there before has this picture.
        if (!std::exchange(self->renegotiating_, false)) {
            self->behind_ = true;
            self->discontinuity_ = true;
            self->requested_ = false;
            self->limit_.reset();
        }
        self->whole_ = true;
        self->output_.request_picture();
    } else {
        self->counts_.tell(self->stream_.get(), monotonic_ns(), true);
        self->arm_poll(false);
    }
}

void PipewireVideo::handle_parameter(void* data, uint32_t id, const spa_pod* parameter) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (id != SPA_PARAM_Format) {
        return;
    }
    self->format_.reset();
    auto format = parse_format(parameter);
    if (format && !format->choices.empty()) {
        self->choose_modifier(*format);
    } else if (format) {
        self->take_format(*format);
    }
}

// The first of two steps: the consumer names what it can read, we what it will be. PipeWire then
// comes back with that.
void PipewireVideo::choose_modifier(const VideoFormat& format) {
    if (auto modifier = offer_.choose_modifier(format, drawing_)) {
        VideoFormat fixed = format;
        fixed.choices.clear();
        fixed.modifier = modifier;
        announce_formats(fixed);
        return;
    }
    log("PipeWire: a consumer can read no DMA-BUF that can be made here");
}

void PipewireVideo::take_format(const VideoFormat& format) {
    format_ = format;
    Pods pods;
    add_buffer_parameters(pods, format, pool_.plan(format, offer_.memories_for(format)));
    pw_stream_update_params(stream_.get(), pods.data(), pods.size());
}

void PipewireVideo::handle_add_buffer(void* data, pw_buffer* buffer) {
    auto* self = static_cast<PipewireVideo*>(data);
    self->pool_.add(buffer);
    // One consumer alone can tell by a timeline that it is done.
    const bool exclusive = self->pool_.has_timelines();
    if (std::exchange(self->exclusive_, exclusive) != exclusive) {
        const spa_dict_item items[] = {{PW_KEY_NODE_EXCLUSIVE, exclusive ? "true" : "false"}};
        const spa_dict dict = SPA_DICT_INIT_ARRAY(items);
        pw_stream_update_properties(self->stream_.get(), &dict);
    }
}

void PipewireVideo::handle_remove_buffer(void* data, pw_buffer* buffer) {
    auto* self = static_cast<PipewireVideo*>(data);
    self->pool_.remove(buffer, self->streaming_ || self->renegotiating_);
}

void PipewireVideo::handle_frame(const CapturedFrame& frame) {
    if (offer_.note(frame) && stream_) {
        announce_formats();
    }
    if (!streaming_ || !format_) {
        behind_ = behind_ || frame.commit != sent_commit_;
        return;
    }
    const bool new_picture = frame.commit != seen_commit_;
    if (new_picture || shown_ns_ == 0) {
        shown_ns_ = frame.presented_ns;
    }
    if (!new_picture && !behind_) {
        return;
    }
    damage_.add(frame.damage);
    if (new_picture && behind_ && seen_commit_ != sent_commit_) {
        ++sequence_;  // one that nobody got
    }
    seen_commit_ = frame.commit;
    behind_ = true;
    if (cycle_.stalled(frame.presented_ns)) {
        cycle_.end();
    }
    if (cycle_.running() || undrawn_ || must_wait(frame.presented_ns)) {
        return;
    }
    collect();
    show(frame);
}

// It has no number: the output tries again, and may yet show the same picture.
void PipewireVideo::handle_lost_frame() {
    if (!streaming_) {
        return;
    }
    behind_ = true;
    collect();
    if (pool_.any_out()) {
        note_starved();  // what the output lacks may be what consumers keep
    }
}

bool PipewireVideo::must_wait(int64_t time_ns) {
#if PW_CHECK_VERSION(1, 4, 0)
    if (pw_stream_is_lazy(stream_.get())) {
        return !std::exchange(requested_, false);
    }
#endif
    return too_early(time_ns);
}

// A consumer wants a picture: the one that it has not seen, or the next.
void PipewireVideo::handle_command(void* data, const spa_command* command) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (SPA_NODE_COMMAND_ID(command) != SPA_NODE_COMMAND_RequestProcess) {
        return;
    }
    self->requested_ = true;
    if (self->behind_) {
        self->output_.request_picture();
    }
}

bool PipewireVideo::too_early(int64_t time_ns) {
    const int64_t wait_ns = format_ ? limit_.wait_ns(format_->limit, time_ns) : 0;
    if (wait_ns > 0) {
        const int64_t wait_ms = wait_ns / 1'000'000;
        wl_event_source_timer_update(due_timer_.get(), std::max(1, static_cast<int>(wait_ms)));
    }
    return wait_ns > 0;
}

int PipewireVideo::handle_due(void* data) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (self->behind_) {
        self->output_.request_picture();
    }
    return 0;
}

void PipewireVideo::handle_io(void* data, uint32_t id, void* area, uint32_t size) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (id == SPA_IO_Position) {
        self->cycle_.set_position(area, size, self->output_.rate());
    }
}

// All consumers that run within the cycle have done so. Called from within PipeWire's own work, so
// what follows is left to the loop.
void PipewireVideo::handle_cycle_end(void* data) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (self->idle_ == nullptr) {
        self->idle_ = wl_event_loop_add_idle(self->loop_, handle_idle, self);
    }
}

void PipewireVideo::handle_idle(void* data) {
    auto* self = static_cast<PipewireVideo*>(data);
    self->idle_ = nullptr;
    if (!self->cycle_.running()) {
        return;
    }
    self->cycle_.end();
    self->collect();
    self->arm_poll(false);
    if (self->behind_ && (!self->format_ || self->format_->limit.unlimited())) {
        self->output_.request_picture();
    }
}

void PipewireVideo::collect() {
    if (stream_ && !cycle_.running()) {
        // Without a graph that runs nothing can come to a consumer any more.
        pool_.collect(stream_.get(),
                      streaming_ ? cycle_.done() : std::numeric_limits<uint64_t>::max());
    }
}

// Consumers give buffers back by a counter in shared memory: nobody tells us.
void PipewireVideo::arm_poll(bool again) {
    if (!pool_.any_out() && renegotiate_at_ns_ == 0) {
        return;
    }
    poll_ms_ = again ? std::min(poll_ms_ * 2, kLongestPollMs) : kShortestPollMs;
    wl_event_source_timer_update(poll_timer_.get(), poll_ms_);
}

int PipewireVideo::handle_poll(void* data) {
    auto* self = static_cast<PipewireVideo*>(data);
    self->collect();
    if (self->renegotiate_at_ns_ != 0 && monotonic_ns() >= self->renegotiate_at_ns_ &&
        self->stream_) {
        // Each consumer must answer to that, and one that stands still would hold the others up.
        if (self->must_renegotiate_ ||
            self->registry_.count_links(pw_stream_get_node_id(self->stream_.get())) <= 1) {
            self->announce_formats();
        } else {
            self->renegotiate_at_ns_ = 0;  // the next such picture asks again
        }
    }
    if (self->behind_ && self->streaming_ && self->pool_.find_free() != nullptr) {
        self->output_.request_picture();
    }
    self->arm_poll(true);
    return 0;
}

// Consumers of a node share its buffers, and one that was killed never gives its own back.
void PipewireVideo::note_starved() {
    const int64_t now_ns = monotonic_ns();
    if (starved_since_ns_ == 0) {
        starved_since_ns_ = now_ns;
    } else if (now_ns - starved_since_ns_ > kStarvedNs) {
        starved_since_ns_ = 0;
        renegotiate_at_ns_ = now_ns;
        must_renegotiate_ = true;
        arm_poll(false);
    }
}

}  // namespace stepscope
