// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_format.hpp"

#include <drm_fourcc.h>
#include <spa/buffer/meta.h>
#include <spa/param/buffers.h>
#include <spa/param/format-utils.h>
#include <spa/param/video/format-utils.h>

#include <algorithm>
#include <array>

#include "capture_output.hpp"
#include "pipewire_cursor.hpp"
#include "pipewire_metadata.hpp"

namespace stepscope {
namespace {

struct KnownFormat {
    uint32_t fourcc;
    spa_video_format spa;
};

/** The same picture has its bytes named in memory order there and as a word here. */
constexpr std::array kFormats{
    KnownFormat{DRM_FORMAT_XRGB8888, SPA_VIDEO_FORMAT_BGRx},
    KnownFormat{DRM_FORMAT_XBGR8888, SPA_VIDEO_FORMAT_RGBx},
    KnownFormat{DRM_FORMAT_XRGB2101010, SPA_VIDEO_FORMAT_xRGB_210LE},
    KnownFormat{DRM_FORMAT_XBGR2101010, SPA_VIDEO_FORMAT_xBGR_210LE},
    KnownFormat{DRM_FORMAT_RGB565, SPA_VIDEO_FORMAT_RGB16},
};

/** Blocks of a buffer that are no pictures: the timelines for acquiring and for releasing. */
constexpr unsigned kTimelines = 2;
/** Enough for what holds pictures back a little; consumers may ask for more. */
constexpr int kMaxBuffers = 16;

spa_video_format to_spa(uint32_t fourcc) {
    const auto* found = std::ranges::find(kFormats, fourcc, &KnownFormat::fourcc);
    return found != kFormats.end() ? found->spa : SPA_VIDEO_FORMAT_UNKNOWN;
}

uint32_t to_fourcc(uint32_t spa) {
    const auto* found = std::ranges::find(
        kFormats, spa, [](const KnownFormat& known) { return static_cast<uint32_t>(known.spa); });
    return found != kFormats.end() ? found->fourcc : 0;
}

/** Of a choice of numbers, or of a single one. */
std::vector<uint64_t> values_of(const spa_pod& pod) {
    uint32_t count = 0;
    uint32_t choice = 0;
    const spa_pod* values = spa_pod_get_values(&pod, &count, &choice);
    if (values->type != SPA_TYPE_Long || values->size != sizeof(int64_t)) {
        return {};
    }
    const auto* numbers = static_cast<const int64_t*>(SPA_POD_BODY_CONST(values));
    return {numbers, numbers + count};
}

enum class Size { exact, any };
enum class Rate { variable, fixed };

/** Without a choice of its own PipeWire leaves it to us, who allocate: see VideoFormat::choices. */
void add_modifiers(spa_pod_builder& builder, const std::vector<uint64_t>& modifiers) {
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_modifier,
                         SPA_POD_PROP_FLAG_MANDATORY | SPA_POD_PROP_FLAG_DONT_FIXATE);
    spa_pod_frame choice;
    spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Enum, 0);
    spa_pod_builder_long(&builder, static_cast<int64_t>(modifiers.front()));  // the default
    for (uint64_t modifier : modifiers) {
        spa_pod_builder_long(&builder, static_cast<int64_t>(modifier));
    }
    spa_pod_builder_pop(&builder, &choice);
}

/** Which memory a format is for. */
struct Memory {
    /** What to choose from; null for memfd, if nothing is fixed. */
    const std::vector<uint64_t>* modifiers = nullptr;
    std::optional<uint64_t> fixed;
};

void add_format(Pods& pods, const VideoOffer& offer, uint32_t fourcc, Size size, Rate timing,
                const Memory& memory) {
    spa_pod_builder& builder = pods.builder();
    spa_pod_frame object;
    spa_pod_frame choice;
    spa_pod_builder_push_object(&builder, &object, SPA_TYPE_OBJECT_Format, SPA_PARAM_EnumFormat);
    spa_pod_builder_prop(&builder, SPA_FORMAT_mediaType, 0);
    spa_pod_builder_id(&builder, SPA_MEDIA_TYPE_video);
    spa_pod_builder_prop(&builder, SPA_FORMAT_mediaSubtype, 0);
    spa_pod_builder_id(&builder, SPA_MEDIA_SUBTYPE_raw);
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_format, 0);
    spa_pod_builder_id(&builder, to_spa(fourcc));
    if (memory.fixed) {
        spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_modifier, SPA_POD_PROP_FLAG_MANDATORY);
        spa_pod_builder_long(&builder, static_cast<int64_t>(*memory.fixed));
    } else if (memory.modifiers != nullptr) {
        add_modifiers(builder, *memory.modifiers);
    }
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_size, 0);
    if (size == Size::exact) {
        spa_pod_builder_rectangle(&builder, offer.width, offer.height);
    } else {
        spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Range, 0);
        spa_pod_builder_rectangle(&builder, offer.width, offer.height);
        spa_pod_builder_rectangle(&builder, kMinOutputSide, kMinOutputSide);
        spa_pod_builder_rectangle(&builder, kMaxOutputSide, kMaxOutputSide);
        spa_pod_builder_pop(&builder, &choice);
    }
    const RefreshRate most{kMaxRefreshHertz, 1};
    const RefreshRate end = offer.limit.value_or(most);
    const RefreshRate usual = offer.limit.value_or(offer.rate.unlimited() ? most : offer.rate);
    const RefreshRate least = end.hertz() < 1 ? end : RefreshRate{1, 1};
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_framerate, 0);
    if (timing == Rate::variable) {
        spa_pod_builder_fraction(&builder, 0, 1);
        spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_maxFramerate, 0);
    }
    spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Range, 0);
    for (const RefreshRate& rate : {usual, least, end}) {
        spa_pod_builder_fraction(&builder, rate.numerator, rate.denominator);
    }
    spa_pod_builder_pop(&builder, &choice);
    // What games draw, unless they say otherwise.
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_colorRange, 0);
    spa_pod_builder_id(&builder, SPA_VIDEO_COLOR_RANGE_0_255);
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_colorMatrix, 0);
    spa_pod_builder_id(&builder, SPA_VIDEO_COLOR_MATRIX_RGB);
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_transferFunction, 0);
    spa_pod_builder_id(&builder, SPA_VIDEO_TRANSFER_SRGB);
    spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_colorPrimaries, 0);
    spa_pod_builder_id(&builder, SPA_VIDEO_COLOR_PRIMARIES_BT709);
    pods.add(spa_pod_builder_pop(&builder, &object));
}

/** `most`: consumers may want up to that. */
void add_meta(Pods& pods, uint32_t type, size_t size, size_t least = 0, size_t most = 0) {
    spa_pod_builder& builder = pods.builder();
    spa_pod_frame object;
    spa_pod_frame choice;
    spa_pod_builder_push_object(&builder, &object, SPA_TYPE_OBJECT_ParamMeta, SPA_PARAM_Meta);
    spa_pod_builder_prop(&builder, SPA_PARAM_META_type, 0);
    spa_pod_builder_id(&builder, type);
    spa_pod_builder_prop(&builder, SPA_PARAM_META_size, 0);
    if (most == 0) {
        spa_pod_builder_int(&builder, static_cast<int32_t>(size));
    } else {
        spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Range, 0);
        for (size_t value : {size, least, most}) {
            spa_pod_builder_int(&builder, static_cast<int32_t>(value));
        }
        spa_pod_builder_pop(&builder, &choice);
    }
    pods.add(spa_pod_builder_pop(&builder, &object));
}

void add_buffers(Pods& pods, const VideoFormat& format, const BufferLayout& layout,
                 unsigned blocks) {
    const int count = std::min<int>(static_cast<int>(layout.buffers), kMaxBuffers);
    spa_pod_builder& builder = pods.builder();
    spa_pod_frame object;
    spa_pod_frame choice;
    spa_pod_builder_push_object(&builder, &object, SPA_TYPE_OBJECT_ParamBuffers, SPA_PARAM_Buffers);
    spa_pod_builder_prop(&builder, SPA_PARAM_BUFFERS_buffers, 0);
    spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Range, 0);
    spa_pod_builder_int(&builder, count);
    spa_pod_builder_int(&builder, count);
    spa_pod_builder_int(&builder, kMaxBuffers);
    spa_pod_builder_pop(&builder, &choice);
    spa_pod_builder_prop(&builder, SPA_PARAM_BUFFERS_blocks, 0);
    spa_pod_builder_int(&builder, static_cast<int32_t>(blocks));
    spa_pod_builder_prop(&builder, SPA_PARAM_BUFFERS_dataType, 0);
    spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Flags, 0);
    spa_pod_builder_int(&builder, format.modifier ? 1 << SPA_DATA_DmaBuf : 1 << SPA_DATA_MemFd);
    spa_pod_builder_pop(&builder, &choice);
    if (blocks != layout.planes) {
        spa_pod_builder_prop(&builder, SPA_PARAM_BUFFERS_metaType, SPA_POD_PROP_FLAG_MANDATORY);
        spa_pod_builder_int(&builder, 1 << SPA_META_SyncTimeline);
    }
    pods.add(spa_pod_builder_pop(&builder, &object));
}

#ifdef SPA_META_FEATURE_SYNC_TIMELINE_RELEASE
// Only with consumers that say whether they will release what they got: without that, nobody knows
// whether a buffer that comes back is still read, or will ever be released.
void add_timeline_meta(Pods& pods) {
    spa_pod_builder& builder = pods.builder();
    spa_pod_frame object;
    spa_pod_builder_push_object(&builder, &object, SPA_TYPE_OBJECT_ParamMeta, SPA_PARAM_Meta);
    spa_pod_builder_prop(&builder, SPA_PARAM_META_type, 0);
    spa_pod_builder_id(&builder, SPA_META_SyncTimeline);
    spa_pod_builder_prop(&builder, SPA_PARAM_META_size, 0);
    spa_pod_builder_int(&builder, sizeof(spa_meta_sync_timeline));
    spa_pod_builder_prop(&builder, SPA_PARAM_META_features, SPA_POD_PROP_FLAG_MANDATORY);
    spa_pod_builder_int(&builder, SPA_META_FEATURE_SYNC_TIMELINE_RELEASE);
    pods.add(spa_pod_builder_pop(&builder, &object));
}
#endif

}  // namespace

spa_pod_builder& Pods::builder() {
    Storage& storage = storage_.emplace_back();
    storage.builder = spa_pod_builder{};
    storage.builder.data = storage.bytes;
    storage.builder.size = sizeof(storage.bytes);
    return storage.builder;
}

void add_formats(Pods& pods, const VideoOffer& offer, const std::optional<VideoFormat>& fixed) {
    auto add = [&](uint32_t fourcc, Size size, const std::vector<uint64_t>& modifiers) {
        for (Rate rate : {Rate::variable, Rate::fixed}) {
            if (!modifiers.empty()) {
                add_format(pods, offer, fourcc, size, rate, {.modifiers = &modifiers, .fixed = {}});
            }
            add_format(pods, offer, fourcc, size, rate, {});
        }
    };
    if (fixed) {
        VideoOffer exact = offer;
        exact.width = fixed->width;
        exact.height = fixed->height;
        for (Rate rate : {Rate::variable, Rate::fixed}) {
            add_format(pods, exact, fixed->fourcc, Size::exact, rate,
                       {.modifiers = nullptr, .fixed = fixed->modifier});
        }
    }
    if (offer.native != 0) {
        add(offer.native, Size::exact, offer.modifiers);
    }
    for (uint32_t fourcc : offer.drawable) {
        add(fourcc, offer.any_size ? Size::any : Size::exact, offer.drawable_modifiers);
    }
}

std::optional<VideoFormat> parse_format(const spa_pod* param) {
    uint32_t type = 0;
    uint32_t subtype = 0;
    spa_video_info_raw raw{};
    if (param == nullptr || spa_format_parse(param, &type, &subtype) < 0 ||
        type != SPA_MEDIA_TYPE_video || subtype != SPA_MEDIA_SUBTYPE_raw ||
        spa_format_video_raw_parse(param, &raw) < 0) {
        return std::nullopt;
    }
    VideoFormat format;
    format.fourcc = to_fourcc(raw.format);
    format.width = raw.size.width;
    format.height = raw.size.height;
    auto valid_side = [](uint32_t side) {
        return side >= kMinOutputSide && side <= kMaxOutputSide;
    };
    if (format.fourcc == 0 || !valid_side(format.width) || !valid_side(format.height)) {
        return std::nullopt;
    }
    if (const spa_pod_prop* modifier =
            spa_pod_find_prop(param, nullptr, SPA_FORMAT_VIDEO_modifier)) {
        format.modifier = raw.modifier;
        if ((modifier->flags & SPA_POD_PROP_FLAG_DONT_FIXATE) != 0) {
            format.choices = values_of(modifier->value);
        }
    }
    const spa_fraction& limit = raw.framerate.num != 0 ? raw.framerate : raw.max_framerate;
    if (limit.num != 0 && limit.denom != 0) {
        format.limit = {limit.num, limit.denom};
    }
    return format;
}

void add_buffer_parameters(Pods& pods, const VideoFormat& format, const BufferLayout& layout) {
#ifdef SPA_META_FEATURE_SYNC_TIMELINE_RELEASE
    if (layout.timelines) {
        // Of the two kinds of buffers the first one whose metadata was agreed on is made.
        add_buffers(pods, format, layout, layout.planes + kTimelines);
        add_timeline_meta(pods);
    }
#endif
    add_buffers(pods, format, layout, layout.planes);
    add_meta(pods, SPA_META_Header, sizeof(spa_meta_header));
    add_meta(pods, SPA_META_VideoDamage, sizeof(spa_meta_region) * kMaxDamageBoxes);
    add_meta(pods, SPA_META_VideoCrop, sizeof(spa_meta_region));
    add_meta(pods, SPA_META_Cursor, cursor_room(kUsualCursorSide), cursor_room(0),
             cursor_room(kMaxCursorSide));
}

}  // namespace stepscope
