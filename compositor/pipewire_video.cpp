// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_video.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "log.hpp"
#include "pipewire_metadata.hpp"

namespace stepscope {
namespace {

/** A cycle that takes longer has a consumer in it that stands still. */
constexpr int64_t kStalledNs = 100'000'000;
/** New memory of a game's comes in groups: wait a while before negotiating anew. */
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

bool passes_as(const FrameMemory& memory, const VideoFormat& format) {
    const bool dmabuf = memory.kind == FrameMemory::Kind::dmabuf;
    return (dmabuf ? format.modifier == memory.modifier : !format.modifier) &&
           memory.fourcc == format.fourcc && memory.width == format.width &&
           memory.height == format.height;
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

PipewireVideo::PipewireVideo(wl_event_loop* loop, Names names, const PictureServices& services,
                             PipewireRegistry& registry, std::function<void()> changed)
    : loop_(loop),
      names_(std::move(names)),
      services_(services),
      output_(services.output),
      drawing_(services.renderer),
      pool_(loop, {services.lending, services.returns}, drawing_,
            services.renderer.timeline_device(), [this] { output_.handle_memory_returned(); }),
      registry_(registry),
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

VideoOffer PipewireVideo::offer() const {
    VideoOffer offer;
    offer.fourcc = native_.fourcc != 0 ? native_.fourcc : uint32_t{DRM_FORMAT_XRGB8888};
    offer.width = native_.fourcc != 0 ? native_.width : output_.width();
    offer.height = native_.fourcc != 0 ? native_.height : output_.height();
    offer.rate = output_.rate();
    offer.drawable = {DRM_FORMAT_XRGB8888, DRM_FORMAT_XBGR8888};
    if (services_.renderer.makes_dmabufs()) {
        offer.drawable_modifiers = {DRM_FORMAT_MOD_LINEAR};
    }
    if (native_.kind == FrameMemory::Kind::dmabuf) {
        offer.modifiers = {native_.modifier};
        if (native_.modifier != DRM_FORMAT_MOD_LINEAR) {
            offer.modifiers.push_back(DRM_FORMAT_MOD_LINEAR);
        }
    }
    return offer;
}

// Also makes PipeWire negotiate anew, with new buffers.
void PipewireVideo::announce_formats(const std::optional<VideoFormat>& fixed) {
    renegotiate_at_ns_ = 0;
    must_renegotiate_ = false;
    renegotiating_ = renegotiating_ || streaming_;
    Pods pods;
    add_formats(pods, offer(), fixed);
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
    self->close_cycle();
    if (streaming) {
        // Who was there before has this picture.
        if (!std::exchange(self->renegotiating_, false)) {
            self->behind_ = true;
            self->discontinuity_ = true;
            self->due_ns_ = 0;
        }
        self->whole_ = true;
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
    VideoFormat fixed = format;
    fixed.choices.clear();
    auto usable = [&](uint64_t modifier) {
        fixed.modifier = modifier;
        return std::ranges::contains(format.choices, modifier) &&
               (passes_as(native_, fixed) ||
                drawing_.make(fixed.fourcc, fixed.width, fixed.height, modifier) != nullptr);
    };
    if (usable(native_.modifier) || usable(DRM_FORMAT_MOD_LINEAR)) {
        announce_formats(fixed);
        return;
    }
    log("PipeWire: a consumer can read no DMA-BUF that can be made here");
}

void PipewireVideo::take_format(const VideoFormat& format) {
    format_ = format;
    std::vector<wlr_buffer*> memories;
    if (passes(native_)) {
        for (const auto& [memory, known] : known_) {
            memories.push_back(memory);
        }
    }
    Pods pods;
    add_buffer_parameters(pods, format, pool_.plan(format, std::move(memories)));
    pw_stream_update_params(stream_.get(), pods.data(), pods.size());
}

bool PipewireVideo::passes(const FrameMemory& memory) const {
    return format_ && passes_as(memory, *format_);
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
    if (cycle_open_ || undrawn_ || too_early(frame.presented_ns)) {
        return;
    }
    collect();
    show(frame);
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

// Where to put a picture: its own memory, or one of ours to draw it into. Null if there is none.
PipewireBuffer* PipewireVideo::place_for(const CapturedFrame& frame) {
    if (passes(frame.memory)) {
        PipewireBuffer* buffer = pool_.find(frame.buffer);
        if (buffer != nullptr && buffer->home() && !buffer->out()) {
            return buffer;
        }
        if (buffer == nullptr && renegotiate_at_ns_ == 0) {
            renegotiate_at_ns_ = monotonic_ns() + kSettleNs;
        }
    }
    PipewireBuffer* buffer = pool_.find_free();
    if (buffer == nullptr) {
        note_starved();
    }
    return buffer;
}

void PipewireVideo::show(const CapturedFrame& frame) {
    PipewireBuffer* target = place_for(frame);
    if (target == nullptr) {
        return;  // until a consumer gives one back
    }
    if (frame.acquire != nullptr) {
        // A consumer that finds the fence waits by itself. Our renderer need not.
        const bool as_it_is = target->memory() == frame.buffer;
        const bool found =
            as_it_is && (target->has_timeline() || put_into_memory(frame.memory, *frame.acquire));
        if (!found) {
            wait_for(frame);
            return;
        }
    }
    if (deliver(frame, *target, shown_ns_, sequence_, damage_)) {
        ++sequence_;
        damage_.clear();
        sent_commit_ = frame.commit;
        behind_ = false;
    }
}

bool PipewireVideo::deliver(const CapturedFrame& frame, PipewireBuffer& target, int64_t shown_ns,
                            uint64_t sequence, Region& damage) {
    std::optional<SyncFile> drawn;
    const SyncFile* acquire = frame.acquire;
    if (target.memory() != frame.buffer) {
        if (!drawing_.draw(frame.buffer, target.memory())) {
            note_starved();
            return false;
        }
        drawn = implicit_fence(target.memory(), BufferAccess::read);
        acquire = drawn ? &*drawn : nullptr;
    }
    starved_since_ns_ = 0;
    pool_.send(target, ++picture_);
    if (target.has_timeline()) {
        target.set_acquire(acquire);
    }
    const bool scaled =
        format_->width != frame.memory.width || format_->height != frame.memory.height;
    write_metadata(target.pw()->buffer,
                   {.time_ns = shown_ns,
                    .sequence = sequence,
                    .discontinuity = std::exchange(discontinuity_, false),
                    .width = format_->width,
                    .height = format_->height,
                    .damage = scaled || std::exchange(whole_, false) ? nullptr : damage.get()});
    pw_stream_queue_buffer(stream_.get(), target.pw());
    trigger(frame.presented_ns);
    return true;
}

// Nobody else has to: the game and other captures go on.
void PipewireVideo::wait_for(const CapturedFrame& frame) {
    auto fence = frame.acquire->duplicate();
    if (!fence) {
        log("PipeWire: a picture is lost: {}", fence.error().message);
        return;
    }
    undrawn_ = std::make_unique<Undrawn>();
    undrawn_->frame = frame;
    undrawn_->frame.acquire = nullptr;
    undrawn_->frame.damage = nullptr;
    undrawn_->shown_ns = shown_ns_;
    undrawn_->sequence = sequence_++;
    undrawn_->damage.add(damage_.get());
    undrawn_->wait =
        std::make_unique<FenceWait>(loop_, std::move(*fence), [this] { handle_drawn(); });
    wlr_buffer_lock(frame.buffer);
    services_.lending.lend(frame.buffer);
    damage_.clear();
    sent_commit_ = frame.commit;
    behind_ = false;
}

void PipewireVideo::handle_drawn() {
    const std::unique_ptr<Undrawn> drawn = std::move(undrawn_);
    collect();
    PipewireBuffer* target =
        streaming_ && format_ && !cycle_open_ ? place_for(drawn->frame) : nullptr;
    if (target == nullptr ||
        !deliver(drawn->frame, *target, drawn->shown_ns, drawn->sequence, drawn->damage)) {
        damage_.add(drawn->damage.get());
        behind_ = true;
    }
    services_.returns.take(drawn->frame.buffer, std::nullopt);
    output_.handle_memory_returned();
    if (behind_) {
        arm_poll(false);
        output_.request_picture();
    }
}

void PipewireVideo::drop_undrawn() {
    if (const std::unique_ptr<Undrawn> dropped = std::move(undrawn_)) {
        services_.returns.take(dropped->frame.buffer, std::nullopt);
        behind_ = true;
    }
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

void PipewireVideo::collect() {
    if (stream_ && !cycle_open_) {
        // Without a graph that runs nothing can come to a consumer any more.
        pool_.collect(stream_.get(),
                      streaming_ ? picture_done_ : std::numeric_limits<uint64_t>::max());
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
