// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fence_sink.hpp"

#include <gst/stepscope/stepscope.h>

#include <format>
#include <utility>

#include "frame_buffer.hpp"
#include "gst/element_error.hpp"
#include "gst/shared_memory.hpp"
#include "stream_caps.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_fence_sink_debug);
#define GST_CAT_DEFAULT gst_fence_sink_debug

namespace stepscope {
namespace {

/** How long to wait for the fence of a frame; GPUs are reset long before. */
constexpr std::chrono::seconds kFenceTimeout{10};

/** Holds the buffer, and so its memory, for the consumers of a frame. */
class BufferLease final : public FrameLease {
public:
    explicit BufferLease(GstBuffer* buffer) : buffer_(gst_buffer_ref(buffer)) {}

    bool take_release_fence(SyncFile& fence) override {
        GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer_.get());
        if (meta == nullptr) {
            return false;
        }
        auto own = fence.duplicate();
        return own && gst_stepscope_fence_add_release_fd(meta->fence, std::move(*own).take().take(),
                                                         nullptr) != FALSE;
    }

private:
    const GstPtr<GstBuffer> buffer_;
};

GstPtr<GstStructure> input_structure(const wire::Input& input) {
    const auto pressed = static_cast<gboolean>(input.pressed != 0);
    auto make = [](const char* type, const char* first, auto... fields) {
        return GstPtr<GstStructure>(gst_structure_new("stepscope-input", "type", G_TYPE_STRING,
                                                      type, first, fields..., nullptr));
    };
    if (!g_utf8_validate(input.key.data(), static_cast<gssize>(input.key.size()), nullptr)) {
        return nullptr;
    }
    switch (static_cast<wire::InputKind>(input.kind)) {
        case wire::InputKind::key:
            return make("key", "key", G_TYPE_STRING, input.key.c_str(), "pressed", G_TYPE_BOOLEAN,
                        pressed);
        case wire::InputKind::motion:
            return make("pointer-motion", "x", G_TYPE_DOUBLE, input.x, "y", G_TYPE_DOUBLE, input.y);
        case wire::InputKind::relative:
            return make("pointer-relative", "dx", G_TYPE_DOUBLE, input.x, "dy", G_TYPE_DOUBLE,
                        input.y);
        case wire::InputKind::button:
            return make("button", "button", G_TYPE_UINT, input.button, "pressed", G_TYPE_BOOLEAN,
                        pressed);
        case wire::InputKind::axis:
            return make("axis", "dx", G_TYPE_DOUBLE, input.x, "dy", G_TYPE_DOUBLE, input.y);
        case wire::InputKind::gamepad_button:
            return make("gamepad-button", "gamepad", G_TYPE_UINT, input.button, "button",
                        G_TYPE_STRING, input.key.c_str(), "pressed", G_TYPE_BOOLEAN, pressed);
        case wire::InputKind::gamepad_axis:
            return make("gamepad-axis", "gamepad", G_TYPE_UINT, input.button, "axis", G_TYPE_STRING,
                        input.key.c_str(), "value", G_TYPE_DOUBLE, input.x);
    }
    return nullptr;
}

uint64_t wall_time_of(GstBuffer* buffer) {
    static GstCaps* const caps = gst_caps_new_empty_simple("timestamp/x-system-monotonic");
    const GstReferenceTimestampMeta* meta = gst_buffer_get_reference_timestamp_meta(buffer, caps);
    return meta != nullptr ? meta->timestamp : wire::kNoTime;
}

}  // namespace

FenceSink::FenceSink(GstBaseSink* element, const FenceSinkSettings& settings, FenceSinkStats& stats)
    : element_(element), settings_(settings), stats_(stats) {}

FenceSink::~FenceSink() {
    slots_.reset();
    server_.reset();
    if (pool_) {
        gst_buffer_pool_set_active(pool_.get(), FALSE);
    }
}

Result<std::unique_ptr<FenceSink>> FenceSink::create(GstBaseSink* element,
                                                     const FenceSinkSettings& settings,
                                                     FenceSinkStats& stats) {
    if (settings.socket_path.empty() && settings.fd < 0) {
        return fail(Fault::usage, "fencesink needs a socket: set socket-path, or fd");
    }
    std::unique_ptr<FenceSink> sink(new FenceSink(element, settings, stats));
    auto server = FrameServer::create(
        {.path = settings.fd < 0 ? settings.socket_path : "",
         .fd = UniqueFd::duplicate(settings.fd),
         .mode = settings.wait,
         .max_consumers = settings.max_consumers,
         .consumer_timeout = std::chrono::milliseconds(settings.consumer_timeout_ms)},
        *sink);
    if (!server) {
        return std::unexpected(server.error());
    }
    sink->server_ = std::move(*server);
    sink->slots_ = std::make_unique<SharedSlots>(*sink->server_);
    return sink;
}

bool FenceSink::set_caps(GstCaps* caps) {
    caps_.reset(gst_caps_copy(caps));
    GstVideoInfo info;
    info_.reset();
    if (!gst_video_is_dma_drm_caps(caps) && gst_video_info_from_caps(&info, caps)) {
        info_ = info;
    }
    stream_.reset();
    if (pool_) {
        gst_buffer_pool_set_active(pool_.get(), FALSE);
        pool_.reset();
    }
    if (auto known = stream_of(caps, MemoryKind::memfd); !known) {
        post_error(element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION, known.error().message);
        return false;
    }
    return true;
}

Result<GstPtr<GstBuffer>> FenceSink::share(GstBuffer* buffer) {
    const bool complete = info_ || gst_buffer_get_video_meta(buffer) != nullptr;
    if (complete && shareable_kind(buffer)) {
        return GstPtr<GstBuffer>(gst_buffer_ref(buffer));
    }
    if (!info_) {
        return fail(Fault::unsupported,
                    "a buffer of DMA-BUF caps has other memory, or no GstVideoMeta");
    }
    if (settings_.require_zero_copy) {
        return fail(Fault::unsupported,
                    "zero-copy=require, but the memory of a buffer can't be shared with other "
                    "processes: expected DMA-BUF or memfd; let upstream use the pool that "
                    "fencesink offers, or use zero-copy=prefer");
    }
    return copy(buffer, *info_);
}

Result<GstPtr<GstBuffer>> FenceSink::copy(GstBuffer* buffer, const GstVideoInfo& info) {
    if (!pool_) {
        pool_ = make_shared_pool(caps_.get(), info, 2);
        if (!pool_ || !gst_buffer_pool_set_active(pool_.get(), TRUE)) {
            return fail(Fault::system, "can't set a pool of shared memory up");
        }
    }
    GstBuffer* acquired = nullptr;
    if (gst_buffer_pool_acquire_buffer(pool_.get(), &acquired, nullptr) != GST_FLOW_OK) {
        return fail(Fault::system, "there is no shared memory for a copy of the picture");
    }
    GstPtr<GstBuffer> target(acquired);
    GstVideoFrame from;
    GstVideoFrame to;
    if (GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer);
        meta != nullptr &&
        !gst_stepscope_fence_wait(meta->fence, kFenceTimeout / std::chrono::nanoseconds(1), nullptr,
                                  nullptr)) {
        return fail(Fault::gone, "the fence of a frame did not signal for 10 s");
    }
    if (!gst_video_frame_map(&from, &info, buffer, GST_MAP_READ)) {
        return fail(Fault::unsupported, "the memory of a buffer can't be mapped for a copy");
    }
    if (!gst_video_frame_map(&to, &info, target.get(), GST_MAP_WRITE)) {
        gst_video_frame_unmap(&from);
        return fail(Fault::system, "the memory for a copy of the picture can't be mapped");
    }
    gst_video_frame_copy(&to, &from);
    gst_video_frame_unmap(&to);
    gst_video_frame_unmap(&from);
    ++stats_.copied;
    return target;
}

Result<void> FenceSink::prepare_stream(GstBuffer* buffer) {
    const MemoryKind kind = shareable_kind(buffer).value_or(MemoryKind::memfd);
    if (stream_ && format_of(*stream_).memory == kind) {
        return {};
    }
    auto stream = stream_of(caps_.get(), kind);
    if (!stream) {
        return std::unexpected(stream.error());
    }
    const GstStepscopeFrameMeta* meta = gst_buffer_get_stepscope_frame_meta(buffer);
    if (meta != nullptr && meta->step != 0 && stream->rate_numerator != 0) {
        stream->clock = 1;
        stream->step_ns = gst_util_uint64_scale_round(GST_SECOND, stream->rate_denominator,
                                                      stream->rate_numerator);
    }
    slots_->clear();
    last_commit_ = 0;
    server_->set_stream(*stream);
    stream_ = *stream;
    return {};
}

UniqueFd FenceSink::pending_fence(GstBuffer* buffer, uint32_t slot) {
    if (GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer);
        meta != nullptr) {
        return gst_stepscope_fence_is_ready(meta->fence)
                   ? UniqueFd()
                   : UniqueFd(gst_stepscope_fence_dup_acquire_fd(meta->fence, nullptr));
    }
    for (const DmaBuf& dmabuf : slots_->dmabufs(slot)) {
        // Where the kernel can't export fences, drivers wait by themselves.
        auto fence = dmabuf.export_sync_file(BufferAccess::read);
        if (fence && fence->wait(std::chrono::nanoseconds(0)) == false) {
            return std::move(*fence).take();
        }
    }
    return {};
}

wire::Frame FenceSink::describe(GstBuffer* buffer) const {
    wire::Frame frame{.pts = GST_BUFFER_PTS(buffer), .duration = GST_BUFFER_DURATION(buffer)};
    static_assert(GST_CLOCK_TIME_NONE == wire::kNoTime);
    if (frame.pts != wire::kNoTime) {
        frame.pts = gst_segment_to_running_time(&element_->segment, GST_FORMAT_TIME, frame.pts);
    }
    frame.wall_time = wall_time_of(buffer);
    if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT)) {
        frame.flags |= wire::frame_discontinuity;
    }
    if (const GstStepscopeFrameMeta* meta = gst_buffer_get_stepscope_frame_meta(buffer)) {
        frame.flags |= meta->repeated ? uint32_t{wire::frame_repeated} : 0;
        frame.step = meta->step;
        frame.virtual_time = meta->step != 0 ? meta->virtual_time : wire::kNoTime;
        frame.commit = meta->commit_id;
        if (meta->commit_id != last_commit_) {
            frame.flags &= ~uint32_t{wire::frame_repeated};  // what it repeats was not sent
        }
        const wire::Stream stream = stream_.value_or(wire::Stream{});
        for (const PictureArea& area :
             known_damage(buffer, last_commit_, {0, 0, stream.width, stream.height})) {
            frame.damage.push_back({area.x, area.y, area.width, area.height});
        }
        frame.input_sequence = meta->input_sequence;
        frame.path = static_cast<uint32_t>(meta->path);
        frame.reason = static_cast<uint32_t>(meta->reason);
    } else if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_GAP)) {
        frame.flags |= wire::frame_repeated;
    }
    return frame;
}

GstFlowReturn FenceSink::render(GstBuffer* buffer) {
    auto shared = share(buffer);
    if (!shared) {
        post_error(element(), shared.error());
        return GST_FLOW_ERROR;
    }
    if (const GstFlowReturn result = deliver(buffer, shared->get()); result != GST_FLOW_OK) {
        return result;
    }
    shared->reset();
    return settings_.wait == wire::Mode::steps ? wait_for_step() : GST_FLOW_OK;
}

GstFlowReturn FenceSink::deliver(GstBuffer* original, GstBuffer* buffer) {
    auto layout = layout_of(buffer, info_ ? &*info_ : nullptr);
    if (!layout) {
        post_error(element(),
                   {Fault::unsupported, "a buffer has more planes than there can be", 0});
        return GST_FLOW_ERROR;
    }
    auto ready = prepare_stream(buffer);
    auto slot = ready ? slots_->find_or_add(buffer, *layout)
                      : Result<uint32_t>(std::unexpected(ready.error()));
    if (!slot) {
        post_error(element(), slot.error());
        return GST_FLOW_ERROR;
    }
    while (!server_->wait_ready()) {
        // Paused or flushing: the base class has to know that we are out of the way.
        if (const GstFlowReturn result = gst_base_sink_wait_preroll(element_);
            result != GST_FLOW_OK) {
            return result;
        }
    }
    UniqueFd fence = pending_fence(buffer, *slot);
    if (fence && server_->needs_complete_frames()) {
        ++stats_.waited;
        if (auto file = SyncFile::adopt(std::exchange(fence, UniqueFd()));
            file && file->wait(kFenceTimeout) == false) {
            post_error(element(), {Fault::gone, "the fence of a frame did not signal for 10 s", 0});
            return GST_FLOW_ERROR;
        }
    }
    wire::Frame frame = describe(original);
    frame.slot = *slot;
    if (buffer != original) {
        frame.path = GST_STEPSCOPE_FRAME_PATH_COPIED;
    }
    last_commit_ = frame.commit;
    server_->deliver(frame, fence.get(), std::make_shared<BufferLease>(buffer));
    ++stats_.frames;
    stats_.slots = slots_->announced();
    GST_LOG_OBJECT(element_, "frame in slot %u%s", *slot, fence ? ", with a fence" : "");
    return GST_FLOW_OK;
}

GstFlowReturn FenceSink::wait_for_step() {
    for (;;) {
        if (auto step = server_->wait_step()) {
            uint64_t number = step->first_number;
            for (const wire::Input& input : step->inputs) {
                if (auto done = handle_input(input); !done) {
                    server_->refuse(step->consumer, number, wire::Input::type,
                                    done.error().message);
                }
                ++number;
            }
            return GST_FLOW_OK;
        }
        if (const GstFlowReturn result = gst_base_sink_wait_preroll(element_);
            result != GST_FLOW_OK) {
            return result;
        }
    }
}

Result<void> FenceSink::handle_input(const wire::Input& input) {
    GstPtr<GstStructure> structure = input_structure(input);
    if (!structure) {
        return fail(Fault::unsupported,
                    std::format("there is no input of kind {} with this content", input.kind));
    }
    GstPtr<char> text(gst_structure_to_string(structure.get()));
    GstEvent* event = gst_event_new_custom(GST_EVENT_CUSTOM_UPSTREAM, structure.release());
    if (!gst_pad_push_event(GST_BASE_SINK_PAD(element_), event)) {
        return fail(Fault::unsupported, std::format("the source does not take {}", text.get()));
    }
    return {};
}

void FenceSink::note_end(const GstStructure* structure) {
    const char* how = gst_structure_get_string(structure, "how");
    const char* message = gst_structure_get_string(structure, "message");
    wire::End end{.reason = static_cast<uint32_t>(wire::EndReason::failed),
                  .text = message != nullptr ? message : ""};
    if (g_strcmp0(how, "exited") == 0) {
        end.reason = static_cast<uint32_t>(wire::EndReason::exited);
    } else if (g_strcmp0(how, "signaled") == 0) {
        end.reason = static_cast<uint32_t>(wire::EndReason::crashed);
    }
    guint value = 0;
    gst_structure_get_uint(structure, "value", &value);
    end.value = static_cast<int32_t>(value);
    std::lock_guard lock(end_mutex_);
    noted_end_ = end;
}

void FenceSink::end_of_stream() {
    wire::End end;
    {
        std::lock_guard lock(end_mutex_);
        end = noted_end_.value_or(wire::End{.text = "the stream ended"});
    }
    server_->end(static_cast<wire::EndReason>(end.reason), end.value, end.text);
}

void FenceSink::begin_again() {
    {
        std::lock_guard lock(end_mutex_);
        noted_end_.reset();
    }
    server_->begin_again();
}

}  // namespace stepscope
