// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_caps.hpp"

#include <drm_fourcc.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/video/video-info-dma.h>

#include <algorithm>
#include <array>

namespace stepscope {
namespace {

struct RawFormat {
    uint32_t fourcc;
    GstVideoFormat format;
    uint32_t bytes_per_pixel;
};

constexpr std::array kRawFormats{
    RawFormat{DRM_FORMAT_XRGB8888, GST_VIDEO_FORMAT_BGRx, 4},
    RawFormat{DRM_FORMAT_XBGR8888, GST_VIDEO_FORMAT_RGBx, 4},
    RawFormat{DRM_FORMAT_XRGB2101010, GST_VIDEO_FORMAT_BGR10x2_LE, 4},
    RawFormat{DRM_FORMAT_XBGR2101010, GST_VIDEO_FORMAT_RGB10x2_LE, 4},
    RawFormat{DRM_FORMAT_RGB565, GST_VIDEO_FORMAT_RGB16, 2},
};

const RawFormat* find_raw(uint32_t fourcc) {
    for (const RawFormat& raw : kRawFormats) {
        if (raw.fourcc == fourcc) {
            return &raw;
        }
    }
    return nullptr;
}

/** Fields that all caps of a size have; takes the structure. */
GstStructure* with_size_and_rate(GstStructure* structure, uint32_t width, uint32_t height) {
    gst_structure_set(structure, "width", G_TYPE_INT, static_cast<int>(width), "height", G_TYPE_INT,
                      static_cast<int>(height), "framerate", GST_TYPE_FRACTION_RANGE, 0, 1,
                      G_MAXINT, 1, "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, nullptr);
    return structure;
}

}  // namespace

GstPtr<GstCaps> picture_template_caps() {
    return GstPtr<GstCaps>(gst_caps_from_string(GST_VIDEO_DMA_DRM_CAPS_MAKE
                                                "; " GST_VIDEO_CAPS_MAKE("{ BGRx, RGBx, BGR10x2_LE,"
                                                                         " RGB10x2_LE, RGB16 }")));
}

GstPtr<GstCaps> picture_caps(const PictureFormat& format, bool mapped_only) {
    GstPtr<GstCaps> caps(gst_caps_new_empty());
    if (format.memory == MemoryKind::dmabuf && !mapped_only &&
        format.modifier != DRM_FORMAT_MOD_INVALID) {
        // Writes linear without its modifier, as caps want it.
        GstPtr<char> name(gst_video_dma_drm_fourcc_to_string(format.fourcc, format.modifier));
        if (name) {
            gst_caps_append_structure_full(
                caps.get(),
                with_size_and_rate(
                    gst_structure_new("video/x-raw", "format", G_TYPE_STRING, "DMA_DRM",
                                      "drm-format", G_TYPE_STRING, name.get(), nullptr),
                    format.width, format.height),
                gst_caps_features_new_single(GST_CAPS_FEATURE_MEMORY_DMABUF));
        }
    }
    if (GstVideoFormat raw = raw_video_format(format); raw != GST_VIDEO_FORMAT_UNKNOWN) {
        gst_caps_append_structure(
            caps.get(),
            with_size_and_rate(gst_structure_new("video/x-raw", "format", G_TYPE_STRING,
                                                 gst_video_format_to_string(raw), nullptr),
                               format.width, format.height));
    }
    return caps;
}

GstPtr<GstCaps> choice_caps(const std::vector<PictureFormat>& formats, bool mapped_only) {
    GstPtr<GstCaps> dmabuf(gst_caps_new_empty());
    GstPtr<GstCaps> shared(gst_caps_new_empty());
    GstPtr<GstCaps> mapped(gst_caps_new_empty());
    for (const PictureFormat& format : formats) {
        GstPtr<GstCaps> caps = picture_caps(format, mapped_only);
        for (guint index = 0; index < gst_caps_get_size(caps.get()); ++index) {
            GstCapsFeatures* features = gst_caps_get_features(caps.get(), index);
            GstCaps* list = gst_caps_features_contains(features, GST_CAPS_FEATURE_MEMORY_DMABUF)
                                ? dmabuf.get()
                            : format.memory == MemoryKind::memfd ? shared.get()
                                                                 : mapped.get();
            gst_caps_append_structure_full(
                list, gst_structure_copy(gst_caps_get_structure(caps.get(), index)),
                gst_caps_features_copy(features));
        }
    }
    gst_caps_append(dmabuf.get(), shared.release());
    return GstPtr<GstCaps>(gst_caps_merge(dmabuf.release(), mapped.release()));
}

PictureFormat chosen_format(const GstCaps* caps, const std::vector<PictureFormat>& formats) {
    const bool dmabuf =
        gst_caps_features_contains(gst_caps_get_features(caps, 0), GST_CAPS_FEATURE_MEMORY_DMABUF);
    const MemoryKind first = dmabuf ? MemoryKind::dmabuf : MemoryKind::memfd;
    for (bool preferred : {true, false}) {
        for (const PictureFormat& format : formats) {
            if ((format.memory == first) == preferred &&
                gst_caps_can_intersect(picture_caps(format, false).get(), caps)) {
                return format;
            }
        }
    }
    return formats.front();
}

namespace {

/** Calls back for each string of a field, which may be a list. False if the field is anything. */
template <typename Callback>
bool for_each_string(const GstStructure* structure, const char* field, Callback callback) {
    const GValue* value = gst_structure_get_value(structure, field);
    if (value != nullptr && G_VALUE_HOLDS_STRING(value)) {
        callback(g_value_get_string(value));
        return true;
    }
    if (value == nullptr || !GST_VALUE_HOLDS_LIST(value)) {
        return false;
    }
    for (guint i = 0; i < gst_value_list_get_size(value); ++i) {
        callback(g_value_get_string(gst_value_list_get_value(value, i)));
    }
    return true;
}

}  // namespace

std::vector<DrmFormat> readable_formats(const GstCaps* peer, bool mapped_only) {
    std::vector<DrmFormat> formats;
    auto add = [&](const DrmFormat& format) {
        if (!std::ranges::contains(formats, format)) {
            formats.push_back(format);
        }
    };
    if (gst_caps_is_any(peer)) {
        return {};
    }
    for (guint i = 0; i < gst_caps_get_size(peer); ++i) {
        const GstStructure* structure = gst_caps_get_structure(peer, i);
        const bool dmabuf = gst_caps_features_contains(gst_caps_get_features(peer, i),
                                                       GST_CAPS_FEATURE_MEMORY_DMABUF) != FALSE;
        if (dmabuf && mapped_only) {
            continue;
        }
        const bool known = dmabuf ? for_each_string(structure, "drm-format",
                                                    [&](const char* name) {
                                                        DrmFormat format;
                                                        format.fourcc =
                                                            gst_video_dma_drm_fourcc_from_string(
                                                                name, &format.modifier);
                                                        if (format.fourcc != DRM_FORMAT_INVALID) {
                                                            add(format);
                                                        }
                                                    })
                                  : for_each_string(structure, "format", [&](const char* name) {
                                        for (const RawFormat& raw : kRawFormats) {
                                            if (raw.format == gst_video_format_from_string(name)) {
                                                add({raw.fourcc, DRM_FORMAT_MOD_LINEAR});
                                            }
                                        }
                                    });
        if (!known && dmabuf) {
            return {};
        }
        if (!known) {
            for (const RawFormat& raw : kRawFormats) {
                add({raw.fourcc, DRM_FORMAT_MOD_LINEAR});
            }
        }
    }
    return formats;
}

GstPtr<GstCaps> sized_template_caps(uint32_t width, uint32_t height) {
    GstPtr<GstCaps> caps(gst_caps_make_writable(picture_template_caps().release()));
    gst_caps_set_simple(caps.get(), "width", G_TYPE_INT, static_cast<int>(width), "height",
                        G_TYPE_INT, static_cast<int>(height), nullptr);
    return caps;
}

GstPtr<GstCaps> without_size(const GstCaps* caps) {
    GstPtr<GstCaps> any(gst_caps_copy(caps));
    gst_caps_set_simple(any.get(), "width", GST_TYPE_INT_RANGE, 1, G_MAXINT, "height",
                        GST_TYPE_INT_RANGE, 1, G_MAXINT, nullptr);
    return any;
}

GstVideoFormat raw_video_format(const PictureFormat& format) {
    const RawFormat* raw = find_raw(format.fourcc);
    return raw != nullptr && format.modifier == DRM_FORMAT_MOD_LINEAR ? raw->format
                                                                      : GST_VIDEO_FORMAT_UNKNOWN;
}

uint32_t opaque_fourcc(uint32_t fourcc) {
    switch (fourcc) {
        case DRM_FORMAT_ARGB8888:
            return DRM_FORMAT_XRGB8888;
        case DRM_FORMAT_ABGR8888:
            return DRM_FORMAT_XBGR8888;
        case DRM_FORMAT_ARGB2101010:
            return DRM_FORMAT_XRGB2101010;
        case DRM_FORMAT_ABGR2101010:
            return DRM_FORMAT_XBGR2101010;
        default:
            return find_raw(fourcc) != nullptr ? fourcc : 0;
    }
}

uint32_t fourcc_of(GstVideoFormat format) {
    for (const RawFormat& raw : kRawFormats) {
        if (raw.format == format) {
            return raw.fourcc;
        }
    }
    return 0;
}

uint32_t bytes_per_pixel(uint32_t fourcc) {
    const RawFormat* raw = find_raw(fourcc);
    return raw != nullptr ? raw->bytes_per_pixel : 0;
}

}  // namespace stepscope
