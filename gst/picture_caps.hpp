// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/video/video.h>

#include <cstdint>
#include <vector>

#include "gst_ptr.hpp"

/** The one place that builds caps of captured pictures. */
namespace stepscope {

enum class MemoryKind { memfd, dmabuf };

/** What frames look like, as DRM describes it. Alpha is never meaningful. */
struct PictureFormat {
    uint32_t width = 0;
    uint32_t height = 0;
    uint32_t fourcc = 0;    // DRM_FORMAT_*
    uint64_t modifier = 0;  // DRM_FORMAT_MOD_*
    MemoryKind memory = MemoryKind::memfd;

    bool operator==(const PictureFormat&) const = default;
};

/** A DRM format and how it lies in memory. */
struct DrmFormat {
    uint32_t fourcc = 0;
    uint64_t modifier = 0;

    bool operator==(const DrmFormat&) const = default;
};

/** Everything that a capture could ever produce: for pad templates. */
GstPtr<GstCaps> picture_template_caps();

/**
 * All caps that describe frames of `format`, best first, at any frame rate: DMA_DRM for DMA-BUF
 * memory with an explicit modifier, and plain video/x-raw where memory can be mapped and read as
 * rows. Empty if nothing can describe it. `mapped_only` leaves DMA_DRM away.
 */
GstPtr<GstCaps> picture_caps(const PictureFormat& format, bool mapped_only);

/**
 * Caps of all formats that a consumer may choose among, DMA-BUF first. Where there are both, plain
 * video/x-raw means shared memory. `mapped_only` leaves DMA_DRM away.
 */
GstPtr<GstCaps> choice_caps(const std::vector<PictureFormat>& formats, bool mapped_only);

/** The one of `formats` that fixed caps, taken from choice_caps(), mean. */
PictureFormat chosen_format(const GstCaps* caps, const std::vector<PictureFormat>& formats);

/**
 * What a peer with these caps reads; empty: anything. `mapped_only` as for picture_caps(). Caps
 * that accept no picture at all count as anything, too: nothing can be done about them here.
 */
std::vector<DrmFormat> readable_formats(const GstCaps* peer, bool mapped_only);

/** The template's caps, restricted to a size. */
GstPtr<GstCaps> sized_template_caps(uint32_t width, uint32_t height);

/** The same caps with any width and height. */
GstPtr<GstCaps> without_size(const GstCaps* caps);

/** The GStreamer format of linear memory; GST_VIDEO_FORMAT_UNKNOWN if there is none. */
GstVideoFormat raw_video_format(const PictureFormat& format);

/** The format without alpha that has the same layout; 0 if the caps know none. */
uint32_t opaque_fourcc(uint32_t fourcc);

/** The DRM_FORMAT_* of linear pictures of that format; 0 for one that is not among ours. */
uint32_t fourcc_of(GstVideoFormat format);

/** Bytes of a pixel of a format that raw_video_format() knows, else 0. */
uint32_t bytes_per_pixel(uint32_t fourcc);

}  // namespace stepscope
