// SPDX-License-Identifier: LGPL-2.1-or-later
#include "frame_buffer.hpp"

#include <gst/allocators/gstdmabuf.h>
#include <gst/stepscope/stepscope.h>

#include "base/dmabuf.hpp"

namespace stepscope {
namespace {

/** Type of the regions of interest that say what changed. */
constexpr const char* kDamageRegion = "damage";

GstCaps* make_clock_caps(const char* name) {
    GstCaps* made = gst_caps_new_empty_simple(name);
    GST_MINI_OBJECT_FLAG_SET(made, GST_MINI_OBJECT_FLAG_MAY_BE_LEAKED);
    return made;
}

// Clocks of the reference timestamps.

GstCaps* monotonic_caps() {
    static GstCaps* const caps = make_clock_caps("timestamp/x-system-monotonic");
    return caps;
}

GstCaps* virtual_caps() {
    static GstCaps* const caps = make_clock_caps("timestamp/x-stepscope-virtual");
    return caps;
}

void describe(GstBuffer* buffer, const FrameInfo& info, FramePath path) {
    gst_buffer_add_reference_timestamp_meta(buffer, monotonic_caps(), info.time_ns,
                                            GST_CLOCK_TIME_NONE);
    GstStepscopeFrameMeta* meta = gst_buffer_add_stepscope_frame_meta(
        buffer, info.commit, static_cast<GstStepscopeFramePath>(path),
        static_cast<GstStepscopeFrameReason>(info.reason), FALSE);
    meta->damage_since = info.damage_since;
    if (info.step != 0) {
        gst_buffer_add_reference_timestamp_meta(buffer, virtual_caps(), info.virtual_time_ns,
                                                GST_CLOCK_TIME_NONE);
        meta->step = info.step;
        meta->virtual_time = info.virtual_time_ns;
    }
    for (const PictureArea& area : info.damage) {
        gst_buffer_add_video_region_of_interest_meta(buffer, kDamageRegion, area.x, area.y,
                                                     area.width, area.height);
    }
}

const char* enum_nick(GType type, int value) {
    auto* values = static_cast<GEnumClass*>(g_type_class_ref(type));
    const GEnumValue* found = g_enum_get_value(values, value);
    const char* nick = found != nullptr ? found->value_nick : "unknown";
    g_type_class_unref(values);
    return nick;
}

}  // namespace

GstPtr<GstBuffer> wrap_frame(const CapturedFrame& frame) {
    GstBuffer* target = frame.buffer.get();
    GstPtr<GstBuffer> buffer;
    if (target == nullptr) {
        buffer.reset(gst_buffer_new());
        target = buffer.get();
        for (const GstPtr<GstMemory>& memory : frame.memories) {
            gst_buffer_append_memory(target, gst_memory_ref(memory.get()));
        }
    }
    const PictureFormat& format = frame.format();
    const PlaneLayout& layout = frame.layout();
    GstVideoFormat raw = raw_video_format(format);
    if (format.memory == MemoryKind::dmabuf && raw == GST_VIDEO_FORMAT_UNKNOWN) {
        raw = GST_VIDEO_FORMAT_DMA_DRM;
    }
    // Pools give their buffers one of their own, which stays.
    if (gst_buffer_get_video_meta(target) == nullptr) {
        gst_buffer_add_video_meta_full(target, GST_VIDEO_FRAME_FLAG_NONE, raw, format.width,
                                       format.height, layout.planes, layout.offset.data(),
                                       layout.stride.data());
    }
    describe(target, frame.info, frame.info.path);
    if (frame.fence) {
        gst_buffer_add_stepscope_fence_meta(target, frame.fence.get());
    }
    if (!buffer) {
        buffer.reset(gst_buffer_ref(target));
    }
    return buffer;
}

void forget_damage(GstBuffer* buffer) {
    auto drop = [](GstBuffer*, GstMeta** meta, gpointer) -> gboolean {
        if ((*meta)->info->api == GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE) {
            *meta = nullptr;
        }
        return TRUE;
    };
    gst_buffer_foreach_meta(buffer, drop, nullptr);
}

Damage known_damage(GstBuffer* buffer, uint64_t since, const PictureArea& picture) {
    const GstStepscopeFrameMeta* frame = gst_buffer_get_stepscope_frame_meta(buffer);
    // Who draws into a picture on its way has to copy it first: ours is read-only.
    const bool untouched = gst_buffer_n_memory(buffer) > 0 &&
                           GST_MEMORY_IS_READONLY(gst_buffer_peek_memory(buffer, 0));
    if (since == 0 || frame == nullptr || frame->damage_since != since || !untouched) {
        return {};
    }
    static const GQuark damage_region = g_quark_from_static_string(kDamageRegion);
    Damage damage;
    gpointer state = nullptr;
    while (GstMeta* meta = gst_buffer_iterate_meta_filtered(
               buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE)) {
        const auto* region = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
        if (region->roi_type == damage_region) {
            add_damage(damage, {region->x, region->y, region->w, region->h}, picture);
        }
    }
    return damage;
}

Result<void> import_fence(const CapturedFrame& frame) {
    auto fence =
        SyncFile::adopt(UniqueFd::duplicate(gst_stepscope_fence_get_acquire_fd(frame.fence.get())));
    if (!fence) {
        return std::unexpected(fence.error());
    }
    for (const GstPtr<GstMemory>& memory : frame.memories) {
        if (!gst_is_dmabuf_memory(memory.get())) {
            return fail(Fault::unsupported, "the memory is no DMA-BUF");
        }
        auto dmabuf = DmaBuf::adopt(UniqueFd::duplicate(gst_dmabuf_memory_get_fd(memory.get())));
        if (!dmabuf) {
            return std::unexpected(dmabuf.error());
        }
        // A writer's fence: readers have to wait for it.
        if (auto done = dmabuf->import_sync_file(*fence, BufferAccess::write); !done) {
            return done;
        }
    }
    return {};
}

bool has_default_layout(const CapturedFrame& frame, const GstVideoInfo& info) {
    const PlaneLayout& layout = frame.layout();
    return layout.planes == 1 && layout.offset[0] == 0 &&
           layout.stride[0] == GST_VIDEO_INFO_PLANE_STRIDE(&info, 0);
}

FrameCopier::FrameCopier(GstPtr<GstBufferPool> pool, const GstVideoInfo& info)
    : pool_(std::move(pool)), info_(info) {}

FrameCopier::~FrameCopier() {
    gst_buffer_pool_set_active(pool_.get(), FALSE);
}

Result<std::unique_ptr<FrameCopier>> FrameCopier::create(const GstCaps* caps, bool video_meta) {
    auto bad = [] { return fail(Fault::unsupported, "can't set a pool for copies up"); };
    GstVideoInfo info;
    if (!gst_video_info_from_caps(&info, caps)) {
        return bad();
    }
    GstPtr<GstBufferPool> pool(gst_video_buffer_pool_new());
    GstStructure* config = gst_buffer_pool_get_config(pool.get());
    gst_buffer_pool_config_set_params(config, const_cast<GstCaps*>(caps),
                                      static_cast<guint>(GST_VIDEO_INFO_SIZE(&info)), 2, 0);
    if (video_meta) {
        gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    }
    if (!gst_buffer_pool_set_config(pool.get(), config) ||
        !gst_buffer_pool_set_active(pool.get(), TRUE)) {
        return bad();
    }
    return std::unique_ptr<FrameCopier>(new FrameCopier(std::move(pool), info));
}

Result<GstPtr<GstBuffer>> FrameCopier::copy(const CapturedFrame& frame) {
    GstPtr<GstBuffer> source = wrap_frame(frame);
    GstBuffer* acquired = nullptr;
    if (gst_buffer_pool_acquire_buffer(pool_.get(), &acquired, nullptr) != GST_FLOW_OK) {
        return fail(Fault::system, "there is no memory for a copy of the picture");
    }
    GstPtr<GstBuffer> target(acquired);
    GstVideoFrame from;
    if (!gst_video_frame_map(&from, &info_, source.get(), GST_MAP_READ)) {
        return fail(Fault::unsupported, "the compositor's memory can't be mapped for a copy");
    }
    GstVideoFrame to;
    if (!gst_video_frame_map(&to, &info_, target.get(), GST_MAP_WRITE)) {
        gst_video_frame_unmap(&from);
        return fail(Fault::system, "the memory for a copy of the picture can't be mapped");
    }
    gst_video_frame_copy(&to, &from);
    gst_video_frame_unmap(&to);
    gst_video_frame_unmap(&from);
    describe(target.get(), frame.info, FramePath::copied);
    return target;
}

const char* nick_of(FramePath path) {
    return enum_nick(GST_TYPE_STEPSCOPE_FRAME_PATH, static_cast<int>(path));
}

const char* nick_of(FrameReason reason) {
    return enum_nick(GST_TYPE_STEPSCOPE_FRAME_REASON, static_cast<int>(reason));
}

std::string explain(FrameReason reason) {
    switch (reason) {
        case FrameReason::none:
            return "the compositor gave no reason";
        case FrameReason::windows:
            return "more than one surface is visible; close the game's other windows, overlays and "
                   "menus";
        case FrameReason::size:
            return "the game's picture is not of the output's size; make the game fullscreen or "
                   "start the session with the game's size";
        case FrameReason::cursor:
            return "the cursor is drawn into the picture; use cursor=hidden";
        case FrameReason::not_shareable:
            return "the game's memory can't be protected against shrinking; use zero-copy=prefer";
        case FrameReason::held:
            return "consumers hold as many of the game's buffers as it can spare; lower "
                   "max-buffers "
                   "or let buffers go sooner";
        case FrameReason::format:
            return "the game's pixel format can't be described in caps; use zero-copy=prefer";
        case FrameReason::no_window:
            return "the game shows no window; wait until it does";
        case FrameReason::screencopy:
            return "the compositor is no Stepscope session, and others copy each picture; use "
                   "zero-copy=prefer";
        case FrameReason::other:
            break;
    }
    return "the compositor's renderer decided so; use zero-copy=prefer";
}

}  // namespace stepscope
