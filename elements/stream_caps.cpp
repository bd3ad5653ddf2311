// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream_caps.hpp"

#include <drm_fourcc.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/video/video-hdr.h>
#include <gst/video/video-info-dma.h>

#include <format>
#include <iterator>

namespace stepscope {
namespace {

void add_colour(wire::Stream& stream, const GstCaps* caps) {
    const char* text = gst_structure_get_string(gst_caps_get_structure(caps, 0), "colorimetry");
    GstVideoColorimetry colour;
    if (text != nullptr && gst_video_colorimetry_from_string(&colour, text)) {
        stream.range = static_cast<uint32_t>(colour.range);
        stream.primaries =
            static_cast<uint16_t>(gst_video_color_primaries_to_iso(colour.primaries));
        stream.transfer =
            static_cast<uint16_t>(gst_video_transfer_function_to_iso(colour.transfer));
        stream.matrix = static_cast<uint16_t>(gst_video_color_matrix_to_iso(colour.matrix));
    }
    GstVideoMasteringDisplayInfo mastering;
    if (gst_video_mastering_display_info_from_caps(&mastering, caps)) {
        stream.flags |= wire::stream_mastering;
        for (size_t index = 0; index < 3; ++index) {
            stream.mastering[2 * index] = mastering.display_primaries[index].x;
            stream.mastering[2 * index + 1] = mastering.display_primaries[index].y;
        }
        stream.mastering[6] = mastering.white_point.x;
        stream.mastering[7] = mastering.white_point.y;
        stream.mastering_max = mastering.max_display_mastering_luminance;
        stream.mastering_min = mastering.min_display_mastering_luminance;
    }
    GstVideoContentLightLevel light;
    if (gst_video_content_light_level_from_caps(&light, caps)) {
        stream.flags |= wire::stream_light_level;
        stream.max_cll = light.max_content_light_level;
        stream.max_fall = light.max_frame_average_light_level;
    }
}

void take_colour(const wire::Stream& stream, GstCaps* caps) {
    GstVideoColorimetry colour;
    colour.range = stream.range <= GST_VIDEO_COLOR_RANGE_16_235
                       ? static_cast<GstVideoColorRange>(stream.range)
                       : GST_VIDEO_COLOR_RANGE_UNKNOWN;
    colour.primaries = gst_video_color_primaries_from_iso(stream.primaries);
    colour.transfer = gst_video_transfer_function_from_iso(stream.transfer);
    colour.matrix = gst_video_color_matrix_from_iso(stream.matrix);
    if (colour.range != GST_VIDEO_COLOR_RANGE_UNKNOWN ||
        colour.primaries != GST_VIDEO_COLOR_PRIMARIES_UNKNOWN ||
        colour.transfer != GST_VIDEO_TRANSFER_UNKNOWN) {
        GstPtr<char> text(gst_video_colorimetry_to_string(&colour));
        if (text) {
            gst_caps_set_simple(caps, "colorimetry", G_TYPE_STRING, text.get(), nullptr);
        }
    }
    if ((stream.flags & wire::stream_mastering) != 0) {
        GstVideoMasteringDisplayInfo mastering;
        gst_video_mastering_display_info_init(&mastering);
        for (size_t index = 0; index < 3; ++index) {
            mastering.display_primaries[index].x = stream.mastering[2 * index];
            mastering.display_primaries[index].y = stream.mastering[2 * index + 1];
        }
        mastering.white_point.x = stream.mastering[6];
        mastering.white_point.y = stream.mastering[7];
        mastering.max_display_mastering_luminance = stream.mastering_max;
        mastering.min_display_mastering_luminance = stream.mastering_min;
        gst_video_mastering_display_info_add_to_caps(&mastering, caps);
    }
    if ((stream.flags & wire::stream_light_level) != 0) {
        GstVideoContentLightLevel light;
        gst_video_content_light_level_init(&light);
        light.max_content_light_level = stream.max_cll;
        light.max_frame_average_light_level = stream.max_fall;
        gst_video_content_light_level_add_to_caps(&light, caps);
    }
}

}  // namespace

Result<wire::Stream> stream_of(const GstCaps* caps, MemoryKind memory) {
    wire::Stream stream;
    GstVideoInfo info;
    if (gst_video_is_dma_drm_caps(caps)) {
        GstVideoInfoDmaDrm drm;
        if (!gst_video_info_dma_drm_from_caps(&drm, caps)) {
            return fail(Fault::unsupported, "the caps of the DMA-BUF memory can't be understood");
        }
        info = drm.vinfo;
        stream.fourcc = drm.drm_fourcc;
        stream.modifier = drm.drm_modifier;
    } else if (gst_video_info_from_caps(&info, caps)) {
        stream.fourcc = fourcc_of(GST_VIDEO_INFO_FORMAT(&info));
        stream.modifier = DRM_FORMAT_MOD_LINEAR;
    }
    if (stream.fourcc == 0) {
        GstPtr<char> text(gst_caps_to_string(caps));
        return fail(Fault::unsupported,
                    std::format("consumers can't be told what {} is", text.get()));
    }
    stream.memory = static_cast<uint32_t>(memory == MemoryKind::dmabuf ? wire::Memory::dmabuf
                                                                       : wire::Memory::memfd);
    stream.width = static_cast<uint32_t>(GST_VIDEO_INFO_WIDTH(&info));
    stream.height = static_cast<uint32_t>(GST_VIDEO_INFO_HEIGHT(&info));
    stream.rate_numerator = static_cast<uint32_t>(GST_VIDEO_INFO_FPS_N(&info));
    stream.rate_denominator = static_cast<uint32_t>(std::max(1, GST_VIDEO_INFO_FPS_D(&info)));
    stream.aspect_numerator = static_cast<uint32_t>(std::max(1, GST_VIDEO_INFO_PAR_N(&info)));
    stream.aspect_denominator = static_cast<uint32_t>(std::max(1, GST_VIDEO_INFO_PAR_D(&info)));
    add_colour(stream, caps);
    return stream;
}

PictureFormat format_of(const wire::Stream& stream) {
    return {.width = stream.width,
            .height = stream.height,
            .fourcc = stream.fourcc,
            .modifier = stream.modifier,
            .memory = stream.memory == static_cast<uint32_t>(wire::Memory::dmabuf)
                          ? MemoryKind::dmabuf
                          : MemoryKind::memfd};
}

Result<GstPtr<GstCaps>> caps_of(const wire::Stream& stream) {
    GstPtr<GstCaps> caps = picture_caps(format_of(stream), false);
    if (gst_caps_is_empty(caps.get()) || stream.rate_numerator > G_MAXINT ||
        stream.rate_denominator > G_MAXINT || stream.aspect_numerator > G_MAXINT ||
        stream.aspect_denominator > G_MAXINT) {
        return fail(Fault::unsupported,
                    std::format("there are no caps for pictures of format 0x{:08x} with modifier "
                                "0x{:x}",
                                stream.fourcc, stream.modifier));
    }
    for (guint index = 0; index < gst_caps_get_size(caps.get()); ++index) {
        gst_structure_set(gst_caps_get_structure(caps.get(), index), "framerate", GST_TYPE_FRACTION,
                          static_cast<int>(stream.rate_numerator),
                          static_cast<int>(stream.rate_denominator), "pixel-aspect-ratio",
                          GST_TYPE_FRACTION, static_cast<int>(stream.aspect_numerator),
                          static_cast<int>(stream.aspect_denominator), nullptr);
    }
    take_colour(stream, caps.get());
    return caps;
}

}  // namespace stepscope
