// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_video.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "log.hpp"
#include "pipewire_metadata.hpp"

namespace stepscope {
namespace {

/** Memories of our own in each stream, for pictures that can't be given as they are. */
constexpr unsigned kOwnBuffers = 3;
/** A cycle that takes longer has a consumer in it that stands still. */
constexpr int64_t kStalledNs = 100'000'000;
/** New memory of a game's comes in groups: wait for the last before negotiating anew. */
constexpr int64_t kSettleNs = 200'000'000;
/** Without a free buffer for so long, all of them are given up and new ones made. */
constexpr int64_t kStarvedNs = 1'000'000'000;
/** For the graph's clock, where each commit is a frame. */
constexpr int64_t kUnknownPeriodNs = 16'666'667;
constexpr int kShortestPollMs = 1;
constexpr int kLongestPollMs = 16;
/** Pictures that are a little early are on time: games do not keep to the nanosecond. */
constexpr int64_t kEarlyPart = 8;

bool same_layout(const FrameMemory& a, const FrameMemory& b) {
    return a.kind == b.kind && a.width == b.width && a.height == b.height && a.fourcc == b.fourcc &&
           a.modifier == b.modifier && a.planes == b.planes;
}

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
    .command = nullptr,
    .trigger_done = handle_cycle_end,
};

PipewireVideo::PipewireVideo(wl_event_loop* loop, Names names, CaptureOutput& output,
                             BufferLending& lending, const Renderer& renderer,
                             std::function<void()> changed)
    : loop_(loop),
      names_(std::move(names)),
      output_(output),
      lending_(lending),
      drawing_(renderer),
      changed_(std::move(changed)),
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
        core, names_.node.c_str(),
        pw_properties_new(PW_KEY_MEDIA_TYPE, "Video", PW_KEY_MEDIA_CATEGORY, "Capture",
                          PW_KEY_MEDIA_ROLE, "Game", PW_KEY_MEDIA_CLASS, "Video/Source",
                          PW_KEY_NODE_NAME, names_.node.c_str(), PW_KEY_NODE_DESCRIPTION,
                          names_.description.c_str(), PW_KEY_MEDIA_NAME, names_.session.c_str(),
                          "stepscope.session", names_.session.c_str(), nullptr)));
    if (!stream_) {
        log("PipeWire: no video node: {}", std::strerror(errno));
        return;
    }
    pw_stream_add_listener(stream_.get(), hook_.take(), &kEvents, this);
    Pods pods;
    add_formats(pods, offer(), std::nullopt);
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
    cycle_open_ = false;
    position_ = nullptr;
    stream_.reset();  // gives the buffers back
    hook_.remove();
    for (auto& buffer : buffers_) {
        release(*buffer);
    }
    buffers_.clear();
    format_.reset();
    serial_ = 0;
}

VideoOffer PipewireVideo::offer() const {
    VideoOffer offer;
    offer.fourcc = native_.fourcc != 0 ? native_.fourcc : uint32_t{DRM_FORMAT_XRGB8888};
    offer.width = native_.fourcc != 0 ? native_.width : output_.width();
    offer.height = native_.fourcc != 0 ? native_.height : output_.height();
    offer.rate = output_.rate();
    offer.drawable = {DRM_FORMAT_XRGB8888, DRM_FORMAT_XBGR8888};
    return offer;
}

// Also makes PipeWire negotiate anew, with new buffers.
void PipewireVideo::announce_formats() {
    renegotiate_at_ns_ = 0;
    Pods pods;
    add_formats(pods, offer(), std::nullopt);
    pw_stream_update_params(stream_.get(), pods.data(), pods.size());
}

void PipewireVideo::handle_state(void* data, pw_stream_state /*old*/, pw_stream_state state,
                                 const char* error) {
    auto* self = static_cast<PipewireVideo*>(data);
    const bool streaming = state == PW_STREAM_STATE_STREAMING;
    if (self->serial_ == 0 && state >= PW_STREAM_STATE_PAUSED) {
        self->serial_ = object_serial(&pw_stream_get_properties(self->stream_.get())->dict);
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
    self->close_cycle();
    if (streaming) {
        // Who was there before has this picture.
        if (!std::exchange(self->renegotiating_, false)) {
            self->behind_ = true;
            self->discontinuity_ = true;
        }
        self->whole_ = true;
        self->due_ns_ = 0;
        self->output_.request_picture();
    } else {
        self->arm_poll(false);
    }
}

void PipewireVideo::handle_parameter(void* data, uint32_t id, const spa_pod* parameter) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (id != SPA_PARAM_Format) {
        return;
    }
    self->format_.reset();
    if (auto format = parse_format(parameter)) {
        self->take_format(*format);
    }
}

void PipewireVideo::take_format(const VideoFormat& format) {
    format_ = format;
    to_assign_.clear();
    if (passes(native_)) {
        for (const auto& [memory, known] : known_) {
            to_assign_.push_back(memory);
        }
    }
    Pods pods;
    add_buffer_parameters(pods, format, 1, static_cast<unsigned>(to_assign_.size()) + kOwnBuffers);
    pw_stream_update_params(stream_.get(), pods.data(), pods.size());
}

bool PipewireVideo::passes(const FrameMemory& memory) const {
    return format_ && !format_->modifier && memory.kind == FrameMemory::Kind::memfd &&
           memory.fourcc == format_->fourcc && memory.width == format_->width &&
           memory.height == format_->height;
}

void PipewireVideo::handle_add_buffer(void* data, pw_buffer* pw) {
    auto* self = static_cast<PipewireVideo*>(data);
    auto buffer = std::make_unique<Buffer>();
    buffer->pw = pw;
    if (!self->to_assign_.empty()) {
        buffer->memory = self->to_assign_.front();
        self->to_assign_.erase(self->to_assign_.begin());
        Buffer* raw = buffer.get();
        buffer->destroyed.connect(buffer->memory->events.destroy, [raw](void*) {
            raw->memory = nullptr;
            raw->destroyed.disconnect();
        });
    } else if (self->format_) {
        const VideoFormat& format = *self->format_;
        buffer->own = self->drawing_.make(format.fourcc, format.width, format.height);
        buffer->memory = buffer->own.get();
    }
    self->describe(*buffer);
    pw->user_data = buffer.get();
    self->buffers_.push_back(std::move(buffer));
}

void PipewireVideo::describe(Buffer& buffer) {
    auto memory = buffer.memory != nullptr ? describe_buffer(buffer.memory, Owner::compositor)
                                           : fail(Fault::system, "no memory for a picture");
    if (!memory || buffer.pw->buffer->n_datas < memory->planes) {
        log("PipeWire: a buffer without memory: {}",
            memory ? "too few planes" : memory.error().message);
        buffer.memory = nullptr;
        return;
    }
    for (unsigned i = 0; i < memory->planes; ++i) {
        const FrameMemory::Plane& plane = memory->plane[i];
        spa_data& data = buffer.pw->buffer->datas[i];
        const UniqueFd& fd = buffer.fds.emplace_back(::fcntl(plane.fd, F_DUPFD_CLOEXEC, 0));
        data.type = SPA_DATA_MemFd;
        data.flags = SPA_DATA_FLAG_READABLE | SPA_DATA_FLAG_MAPPABLE;
        data.fd = fd.get();
        data.mapoffset = plane.offset;
        data.maxsize = plane.stride * memory->height;
        data.data = nullptr;
        data.chunk->offset = 0;
        data.chunk->size = data.maxsize;
        data.chunk->stride = static_cast<int32_t>(plane.stride);
        data.chunk->flags = SPA_CHUNK_FLAG_NONE;
    }
}

void PipewireVideo::handle_remove_buffer(void* data, pw_buffer* pw) {
    auto* self = static_cast<PipewireVideo*>(data);
    auto found = std::ranges::find(self->buffers_, pw, [](const auto& item) { return item->pw; });
    if (found != self->buffers_.end()) {
        self->release(**found);
        self->buffers_.erase(found);
    }
}

void PipewireVideo::note_memory(const CapturedFrame& frame) {
    if (!same_layout(native_, frame.memory)) {
        known_.clear();
        native_ = frame.memory;
        native_.plane = {};  // the descriptors are this frame's
        if (stream_) {
            announce_formats();
        }
    }
    auto& known = known_[frame.buffer];
    if (!known) {
        known = std::make_unique<Known>();
        wlr_buffer* buffer = frame.buffer;
        known->destroyed.connect(buffer->events.destroy,
                                 [this, buffer](void*) { known_.erase(buffer); });
    }
}

void PipewireVideo::handle_frame(const CapturedFrame& frame) {
    note_memory(frame);
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
    if (cycle_open_ && frame.presented_ns - cycle_since_ns_ > kStalledNs) {
        close_cycle();
    }
    if (cycle_open_ || too_early(frame.presented_ns)) {
        return;
    }
    collect();
    if (frame.acquire != nullptr) {
        put_into_memory(frame.memory, *frame.acquire);
    }
    deliver(frame);
}

void PipewireVideo::handle_lost_frame() {
    if (streaming_) {
        ++sequence_;
        behind_ = true;
    }
}

bool PipewireVideo::too_early(int64_t time_ns) {
    if (!format_ || format_->limit.unlimited()) {
        return false;
    }
    const int64_t period = format_->limit.period_start_ns(1);
    if (due_ns_ != 0 && time_ns < due_ns_ - period / kEarlyPart) {
        const int64_t wait_ms = (due_ns_ - time_ns) / 1'000'000;
        wl_event_source_timer_update(due_timer_.get(), std::max(1, static_cast<int>(wait_ms)));
        return true;
    }
    // On the consumer's beat, but never to make up for what was missed.
    due_ns_ = std::max(due_ns_ + period, time_ns);
    return false;
}

int PipewireVideo::handle_due(void* data) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (self->behind_) {
        self->output_.request_picture();
    }
    return 0;
}

PipewireVideo::Buffer* PipewireVideo::find_memory(const wlr_buffer* memory) {
    auto found = std::ranges::find_if(
        buffers_, [memory](const auto& buffer) { return buffer->memory == memory; });
    return found != buffers_.end() ? found->get() : nullptr;
}

PipewireVideo::Buffer* PipewireVideo::find_own() {
    auto found = std::ranges::find_if(buffers_, [](const auto& buffer) {
        return buffer->own && buffer->home && !buffer->out && buffer->memory != nullptr;
    });
    return found != buffers_.end() ? found->get() : nullptr;
}

void PipewireVideo::deliver(const CapturedFrame& frame) {
    Buffer* target = passes(frame.memory) ? find_memory(frame.buffer) : nullptr;
    if (passes(frame.memory) && target == nullptr) {
        renegotiate_later();
    }
    if (target != nullptr && target->home && !target->out) {
        target->held = true;
        wlr_buffer_lock(target->memory);
        lending_.lend(target->memory);
    } else {
        target = find_own();
        if (target == nullptr || !drawing_.draw(frame.buffer, target->memory)) {
            note_starved();
            return;  // until a consumer gives one back
        }
    }
    starved_since_ns_ = 0;
    target->home = false;
    target->out = true;
    target->taken = false;
    target->picture = ++picture_;
    const bool scaled =
        format_->width != frame.memory.width || format_->height != frame.memory.height;
    write_metadata(target->pw->buffer,
                   {.time_ns = shown_ns_,
                    .sequence = sequence_++,
                    .discontinuity = std::exchange(discontinuity_, false),
                    .width = format_->width,
                    .height = format_->height,
                    .damage = scaled || std::exchange(whole_, false) ? nullptr : damage_.get()});
    damage_.clear();
    sent_commit_ = frame.commit;
    behind_ = false;
    pw_stream_queue_buffer(stream_.get(), target->pw);
    trigger(frame.presented_ns);
}

// This area has the driver's clock, by which all nodes of its graph tell the time.
void PipewireVideo::handle_io(void* data, uint32_t id, void* area, uint32_t size) {
    auto* self = static_cast<PipewireVideo*>(data);
    if (id == SPA_IO_Position) {
        self->position_ = area != nullptr && size >= sizeof(spa_io_position)
                              ? static_cast<spa_io_position*>(area)
                              : nullptr;
        // Nodes count from what they find here when they start.
        self->set_clock();
    }
}

// Samples of a nanosecond since the epoch of CLOCK_MONOTONIC: consumers that count samples and
// those that read the time arrive at the same.
void PipewireVideo::set_clock() {
    if (position_ == nullptr || !pw_stream_is_driving(stream_.get())) {
        return;
    }
    const auto now_ns = static_cast<uint64_t>(monotonic_ns());
    const RefreshRate& rate = output_.rate();
    spa_io_clock& clock = position_->clock;
    clock.nsec = now_ns;
    clock.rate = {1, 1'000'000'000};
    clock.position = now_ns;
    clock.duration =
        static_cast<uint64_t>(rate.unlimited() ? kUnknownPeriodNs : rate.period_start_ns(1));
    clock.delay = 0;
    clock.rate_diff = 1.0;
    clock.next_nsec = now_ns + clock.duration;
}

void PipewireVideo::trigger(int64_t time_ns) {
    cycle_since_ns_ = time_ns;
    cycle_open_ = pw_stream_is_driving(stream_.get());
    if (cycle_open_) {
        set_clock();
    }
    pw_stream_trigger_process(stream_.get());
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
    if (!self->cycle_open_) {
        return;
    }
    self->close_cycle();
    self->collect();
    self->arm_poll(false);
    if (self->behind_ && self->due_ns_ == 0) {
        self->output_.request_picture();
    }
}

void PipewireVideo::close_cycle() {
    cycle_open_ = false;
    picture_done_ = picture_;
}

// A memory is free again when no consumer uses it and none can come to it any more: either it was
// seen in use, or a later picture took its place in the cycle.
void PipewireVideo::collect() {
    if (!stream_ || cycle_open_) {
        return;
    }
    for (size_t tries = buffers_.size(); tries > 0; --tries) {
        if (pw_buffer* pw = pw_stream_dequeue_buffer(stream_.get())) {
            static_cast<Buffer*>(pw->user_data)->home = true;
        } else if (errno != EBUSY) {
            break;
        }
    }
    for (auto& buffer : buffers_) {
        // What is with us counts as one user.
        const bool used = busy_count(buffer->pw->buffer) > (buffer->home ? 1 : 0);
        buffer->taken = buffer->taken || used;
        const bool passed = buffer->taken || !streaming_ || buffer->picture < picture_done_;
        if (buffer->out && buffer->home && !used && passed) {
            buffer->out = false;
            release(*buffer);
        }
    }
}

void PipewireVideo::release(Buffer& buffer) {
    if (!std::exchange(buffer.held, false)) {
        return;
    }
    lending_.give_back(buffer.memory, monotonic_ns());
    wlr_buffer_unlock(buffer.memory);
    output_.handle_memory_returned();
}

// Consumers give buffers back by a counter in shared memory: nobody tells us.
void PipewireVideo::arm_poll(bool again) {
    const bool waiting =
        std::ranges::any_of(buffers_, [](const auto& buffer) { return buffer->out; });
    if (!waiting && renegotiate_at_ns_ == 0) {
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
        self->renegotiating_ = self->streaming_;
        self->announce_formats();
    }
    if (self->behind_ && self->streaming_ && self->find_own() != nullptr) {
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
        arm_poll(false);
    }
}

void PipewireVideo::renegotiate_later() {
    renegotiate_at_ns_ = monotonic_ns() + kSettleNs;
}

}  // namespace stepscope
