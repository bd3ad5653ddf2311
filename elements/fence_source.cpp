// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fence_source.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <format>
#include <span>
#include <thread>
#include <utility>

#include "base/sync_file.hpp"
#include "frame_timing.hpp"
#include "gst/element_error.hpp"
#include "stream_caps.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_fence_src_debug);
#define GST_CAT_DEFAULT gst_fence_src_debug

namespace stepscope {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{5};
constexpr std::chrono::milliseconds kRetryInterval{20};
constexpr GstClockTime kFenceTimeout = 10 * GST_SECOND;
constexpr std::chrono::seconds kReleaseTimeout{10};

uint64_t monotonic_now() {
    return static_cast<uint64_t>(
        std::chrono::nanoseconds(FrameClient::Clock::now().time_since_epoch()).count());
}

/** Makes the messages of input. */
struct Visitor {
    std::vector<wire::Message>& messages;

    void add(wire::InputKind kind, bool pressed, int button, double x, double y,
             std::string key = {}) {
        messages.emplace_back(wire::Input{static_cast<uint32_t>(kind), pressed ? 1U : 0U,
                                          static_cast<uint32_t>(button), x, y, std::move(key)});
    }
    void operator()(const KeyAction& a) { add(wire::InputKind::key, a.pressed, 0, 0, 0, a.keysym); }
    void operator()(const MoveAction& a) { add(wire::InputKind::motion, false, 0, a.x, a.y); }
    void operator()(const RelativeMoveAction& a) {
        add(wire::InputKind::relative, false, 0, a.dx, a.dy);
    }
    void operator()(const ButtonAction& a) {
        add(wire::InputKind::button, a.pressed, a.number, 0, 0);
    }
    void operator()(const ScrollAction& a) { add(wire::InputKind::axis, false, 0, a.right, a.up); }
    void operator()(const GamepadButtonAction& a) {
        add(wire::InputKind::gamepad_button, a.pressed, static_cast<int>(a.gamepad), 0, 0,
            a.button);
    }
    void operator()(const GamepadAxisAction& a) {
        add(wire::InputKind::gamepad_axis, false, static_cast<int>(a.gamepad), a.value, 0, a.axis);
    }
};

Damage damage_of(const wire::Frame& frame, const PictureFormat& format) {
    Damage damage;
    for (const wire::Rectangle& area : frame.damage) {
        add_damage(damage, {area.x, area.y, area.width, area.height},
                   {0, 0, format.width, format.height});
    }
    return damage;
}

}  // namespace

/** Frames that somebody downstream holds, and their fences. Outlives the source with its memory. */
class FenceSource::Frames {
public:
    explicit Frames(std::shared_ptr<FrameClient> client) : client_(std::move(client)) {}
    ~Frames() {
        for (auto& [serial, held] : held_) {
            gst_stepscope_fence_unref(held.fence);
        }
    }

    /** Takes the reference to the fence. The serial is the low half of the frame's number. */
    void add(uint64_t frame, GstStepscopeFence* fence) {
        std::lock_guard lock(mutex_);
        held_.emplace(static_cast<uint32_t>(frame), Held{frame, fence});
    }

    void release(const std::vector<uint32_t>& serials) {
        for (uint32_t serial : serials) {
            Held held;
            {
                std::lock_guard lock(mutex_);
                auto found = held_.find(serial);
                if (found == held_.end()) {
                    continue;
                }
                held = found->second;
                held_.erase(found);
            }
            UniqueFd fence = merged_release_fence(held.fence);
            gst_stepscope_fence_unref(held.fence);
            client_->send({wire::Credits{1}, wire::Release{held.frame}}, std::move(fence));
        }
    }

private:
    struct Held {
        uint64_t frame = 0;
        GstStepscopeFence* fence = nullptr;
    };

    /** One sync_file for all that is to be waited for. What the socket can't carry is waited for.
     */
    static UniqueFd merged_release_fence(GstStepscopeFence* fence) {
        gsize count = 0;
        const std::unique_ptr<gint[], decltype(&g_free)> fds(
            gst_stepscope_fence_take_release_fds(fence, &count), g_free);
        std::optional<SyncFile> all;
        for (const gint raw : std::span(fds.get(), count)) {
            UniqueFd fd(raw);
            auto merged = SyncFile::adopt(fd.duplicate());
            if (merged && all) {
                merged = SyncFile::merge(*all, *merged);
            }
            if (merged) {
                all.emplace(std::move(*merged));
            } else {
                wait_until_readable(fd.get());
            }
        }
        return all ? std::move(*all).take() : UniqueFd();
    }

    static void wait_until_readable(int fd) {
        pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
        const auto deadline = FrameClient::Clock::now() + kReleaseTimeout;
        for (;;) {
            const auto left =
                std::chrono::ceil<std::chrono::milliseconds>(deadline - FrameClient::Clock::now());
            const int ready = ::poll(&readable, 1, std::max(0, static_cast<int>(left.count())));
            if (ready < 0 && errno == EINTR) {
                continue;
            }
            if (ready <= 0) {
                GST_WARNING("a release fence did not signal for 10 s; its frame goes back");
            }
            return;
        }
    }

    const std::shared_ptr<FrameClient> client_;
    std::mutex mutex_;
    std::map<uint32_t, Held> held_;
};

FenceSource::FenceSource(GstBaseSrc* element, std::shared_ptr<FrameClient> client,
                         const FenceSourceSettings& settings, FenceSourceStats& stats)
    : element_(element),
      client_(std::move(client)),
      frames_(std::make_shared<Frames>(client_)),
      settings_(settings),
      stats_(stats) {}

FenceSource::~FenceSource() {
    for (auto& [number, slot] : slots_) {
        slot->retire();
    }
    client_->close();
}

Result<std::unique_ptr<FenceSource>> FenceSource::connect(GstBaseSrc* element,
                                                          const FenceSourceSettings& settings,
                                                          FenceSourceStats& stats) {
    if (settings.socket_path.empty() && settings.fd < 0) {
        return fail(Fault::usage, "fencesrc needs a socket: set socket-path, or fd");
    }
    GstPtr<char> name(gst_object_get_name(GST_OBJECT(element)));
    const wire::Hello hello{.wants = settings.steps ? uint32_t{wire::want_steps} : 0U,
                            .capabilities = wire::capability_memfd | wire::capability_dmabuf |
                                            wire::capability_acquire_fence |
                                            wire::capability_release_fence,
                            .credits = settings.max_buffers,
                            .name = name.get()};
    const auto deadline =
        FrameClient::Clock::now() + std::chrono::milliseconds(settings.timeout_ms);
    for (;;) {
        auto client = FrameClient::connect(settings.socket_path, UniqueFd::duplicate(settings.fd),
                                           hello, kAnswerTimeout);
        if (client) {
            if (settings.steps && ((*client)->welcome().granted & wire::want_steps) == 0) {
                return fail(Fault::busy,
                            (*client)->welcome().mode == static_cast<uint32_t>(wire::Mode::steps)
                                ? "another consumer steps the game; use steps=false to watch"
                                : "the producer does not wait for steps; give its fencesink "
                                  "wait=steps");
            }
            return std::unique_ptr<FenceSource>(
                new FenceSource(element, std::move(*client), settings, stats));
        }
        const int os_errno = client.error().os_errno;
        const bool may_come = os_errno == ENOENT || os_errno == ECONNREFUSED;
        if (!may_come || FrameClient::Clock::now() >= deadline) {
            Error error = client.error();
            if (may_come) {
                error.message += "; is a pipeline with fencesink running?";
            }
            return std::unexpected(std::move(error));
        }
        std::this_thread::sleep_for(kRetryInterval);
    }
}

bool FenceSource::live() const {
    return client_->welcome().mode == static_cast<uint32_t>(wire::Mode::live);
}

void FenceSource::set_flushing(bool flushing) {
    flushing_ = flushing;
    client_->wake();
}

void FenceSource::set_peer(bool reads_video_meta, bool knows_fences) {
    peer_reads_video_meta_ = reads_video_meta;
    peer_knows_fences_ = knows_fences;
}

GstPtr<GstCaps> FenceSource::caps() const {
    std::lock_guard lock(mutex_);
    if (stream_) {
        if (auto caps = caps_of(*stream_)) {
            return std::move(*caps);
        }
    }
    return picture_template_caps();
}

bool FenceSource::negotiate() {
    {
        std::lock_guard lock(mutex_);
        if (!stream_) {
            return true;  // caps need the stream's format
        }
    }
    GstPtr<GstCaps> offered = caps();
    GstPtr<GstCaps> possible(gst_pad_peer_query_caps(GST_BASE_SRC_PAD(element_), offered.get()));
    if (gst_caps_is_empty(possible.get())) {
        GstPtr<char> ours(gst_caps_to_string(offered.get()));
        post_error(element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
                   std::format("downstream does not accept {}; insert videoconvert or videoscale, "
                               "or glupload for DMA-BUF memory",
                               ours.get()));
        return false;
    }
    GstPtr<GstCaps> fixed(gst_caps_fixate(possible.release()));
    agreed_caps_.reset(gst_caps_copy(fixed.get()));
    copier_.reset();
    info_.reset();
    GstVideoInfo info;
    if (!gst_video_is_dma_drm_caps(fixed.get()) && gst_video_info_from_caps(&info, fixed.get())) {
        info_ = info;
    }
    agreed_ = gst_base_src_set_caps(element_, fixed.get()) != FALSE;
    return agreed_;
}

void FenceSource::inject(const InputActions& actions) {
    std::vector<wire::Message> messages;
    for (const InputAction& action : actions) {
        std::visit(Visitor{messages}, action);
    }
    if (!messages.empty()) {
        client_->send(messages);
    }
}

GstFlowReturn FenceSource::create(GstBuffer** buffer) {
    for (;;) {
        if (flushing_) {
            return GST_FLOW_FLUSHING;
        }
        if (settings_.steps && begun_ && !stepping_) {
            stepping_ = true;
            client_->send({wire::Step{++sequence_}});
            ++stats_.steps;
        }
        auto next = client_->next(std::nullopt);
        if (!next) {
            post_error(element(), next.error());
            return GST_FLOW_ERROR;
        }
        std::optional<FrameEvent>& event = *next;
        if (!event) {
            continue;
        }
        auto result = handle(*event, buffer);
        if (!result) {
            post_error(element(), result.error());
            return GST_FLOW_ERROR;
        }
        if (*result != GST_FLOW_CUSTOM_SUCCESS) {
            return *result;
        }
    }
}

Result<GstFlowReturn> FenceSource::handle(FrameEvent& event, GstBuffer** buffer) {
    if (const auto* stream = std::get_if<wire::Stream>(&event.message)) {
        if (auto possible = caps_of(*stream); !possible) {
            return std::unexpected(possible.error());
        }
        std::lock_guard lock(mutex_);
        stream_ = *stream;
        agreed_ = false;
    } else if (const auto* slot = std::get_if<wire::Slot>(&event.message)) {
        if (auto added = add_slot(*slot, std::move(event.fds)); !added) {
            return std::unexpected(added.error());
        }
    } else if (const auto* gone = std::get_if<wire::SlotGone>(&event.message)) {
        if (auto found = slots_.find(gone->slot); found != slots_.end()) {
            found->second->retire();
            slots_.erase(found);
        }
    } else if (const auto* frame = std::get_if<wire::Frame>(&event.message)) {
        return make_buffer(*frame, event.fds.empty() ? UniqueFd() : std::move(event.fds.front()),
                           buffer);
    } else if (const auto* end = std::get_if<wire::End>(&event.message)) {
        GST_INFO_OBJECT(element_, "the stream ended: %s", end->text.c_str());
        if (end->reason == static_cast<uint32_t>(wire::EndReason::failed)) {
            return fail(Fault::gone, std::format("the producer failed: {}", end->text));
        }
        return GST_FLOW_EOS;
    } else if (const auto* refused = std::get_if<wire::Refused>(&event.message)) {
        GST_ELEMENT_WARNING(element_, RESOURCE, SETTINGS, ("%s", refused->text.c_str()), (nullptr));
    }
    return GST_FLOW_CUSTOM_SUCCESS;
}

Result<void> FenceSource::add_slot(const wire::Slot& slot, std::vector<UniqueFd> fds) {
    if (!stream_ || slots_.contains(slot.slot)) {
        return fail(Fault::protocol, std::format("the producer sent slot {} where there can be "
                                                 "none",
                                                 slot.slot));
    }
    std::vector<SlotPlane> planes;
    for (uint32_t index = 0; index < slot.planes; ++index) {
        const wire::Slot::Plane& plane = slot.plane[index];
        if (plane.offset > UINT32_MAX) {
            return fail(Fault::unsupported, "a plane begins beyond 4 GiB in its file");
        }
        planes.push_back(
            {fds[plane.file].duplicate(), static_cast<uint32_t>(plane.offset), plane.stride});
    }
    auto memory = SlotMemory::create(
        format_of(*stream_), std::move(planes),
        [frames = frames_](const std::vector<uint32_t>& serials) { frames->release(serials); });
    if (!memory) {
        return std::unexpected(memory.error());
    }
    stats_.imports += (*memory)->memory_count();
    slots_.emplace(slot.slot, std::move(*memory));
    return {};
}

Result<GstFlowReturn> FenceSource::make_buffer(const wire::Frame& frame, UniqueFd fence_fd,
                                               GstBuffer** buffer) {
    auto slot = slots_.find(frame.slot);
    if (slot == slots_.end()) {
        return fail(Fault::protocol,
                    std::format("the producer sent frame {} in slot {}, which it did not announce",
                                frame.frame, frame.slot));
    }
    begun_ = true;
    stepping_ = false;
    GstStepscopeFence* fence = gst_stepscope_fence_new(fence_fd.take());
    frames_->add(frame.frame, gst_stepscope_fence_ref(fence));
    const std::unique_ptr<GstStepscopeFence, decltype(&gst_stepscope_fence_unref)> own(
        fence, gst_stepscope_fence_unref);
    CapturedFrame captured{
        .info = {.slot = frame.slot,
                 .serial = static_cast<uint32_t>(frame.frame),
                 .commit = frame.commit,
                 .time_ns = frame.wall_time != wire::kNoTime ? frame.wall_time : monotonic_now(),
                 .path = static_cast<FramePath>(frame.path),
                 .reason = static_cast<FrameReason>(frame.reason),
                 .dropped = frame.dropped,
                 .step = frame.step,
                 .virtual_time_ns = frame.virtual_time,
                 .damage = damage_of(frame, slot->second->format())},
        .slot = slot->second,
        .memories = slot->second->acquire(static_cast<uint32_t>(frame.frame)),
        .fence = GstPtr<GstStepscopeFence>(gst_stepscope_fence_ref(fence))};
    captured.info.damage_since = captured.info.damage.empty() ? 0 : last_commit_;
    last_commit_ = frame.commit;
    stats_.dropped += frame.dropped;
    if (!agreed_ && !gst_base_src_negotiate(element_)) {
        return flushing_ ? GST_FLOW_FLUSHING : GST_FLOW_NOT_NEGOTIATED;
    }
    if (auto done = honour_fence(fence, captured); !done) {
        return std::unexpected(done.error());
    }
    GstPtr<GstBuffer> made;
    if (info_ && !peer_reads_video_meta_ && !has_default_layout(captured, *info_)) {
        if (!copier_) {
            auto copier = FrameCopier::create(agreed_caps_.get(), false);
            if (!copier) {
                return std::unexpected(copier.error());
            }
            copier_ = std::move(*copier);
        }
        auto copy = copier_->copy(captured);
        if (!copy) {
            return std::unexpected(copy.error());
        }
        made = std::move(*copy);
        ++stats_.copied;
    } else {
        made = wrap_frame(captured);
    }
    stamp(made.get(), frame);
    ++stats_.frames;
    *buffer = made.release();
    return GST_FLOW_OK;
}

// Who does not know the meta must find the fence in the memory, or none to wait for.
Result<void> FenceSource::honour_fence(GstStepscopeFence* fence, const CapturedFrame& frame) {
    if (gst_stepscope_fence_is_ready(fence) || (peer_knows_fences_ && !copier_)) {
        return {};
    }
    if (!import_fence(frame) && !gst_stepscope_fence_wait(fence, kFenceTimeout, nullptr, nullptr)) {
        return fail(Fault::gone, "the fence of a frame did not signal for 10 s");
    }
    return {};
}

void FenceSource::stamp(GstBuffer* buffer, const wire::Frame& frame) {
    GstStepscopeFrameMeta* meta = gst_buffer_get_stepscope_frame_meta(buffer);
    meta->repeated = (frame.flags & wire::frame_repeated) != 0;
    meta->input_sequence = frame.input_sequence;
    if (meta->repeated) {
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_GAP);
        ++stats_.repeated;
    }
    if ((frame.flags & wire::frame_discontinuity) != 0) {
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    }
    GST_BUFFER_PTS(buffer) = frame.pts;
    GST_BUFFER_DURATION(buffer) = frame.duration;
    GST_BUFFER_OFFSET(buffer) = frame.step != 0 ? frame.step : frame.frame;
    if (!live()) {
        return;
    }
    // The producer's running time is not ours; the clock on the wall is the same.
    GstPtr<GstClock> clock(gst_element_get_clock(element()));
    if (clock) {
        const GstClockTime base = gst_element_get_base_time(element());
        const GstClockTime shown = frame.wall_time != wire::kNoTime
                                       ? to_clock_time(clock.get(), frame.wall_time)
                                       : gst_clock_get_time(clock.get());
        GST_BUFFER_PTS(buffer) = shown > base ? shown - base : 0;
    }
}

}  // namespace stepscope
