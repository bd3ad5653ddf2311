// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/video/video.h>

#include <string>

#include "capture_stream.hpp"

namespace stepscope {

/** A new buffer around the frame's memory, with the metas that describe it. */
GstPtr<GstBuffer> wrap_frame(const CapturedFrame& frame);

/** For a buffer that shows the same picture as the one before: nothing changed. */
void forget_damage(GstBuffer* buffer);

/**
 * What a buffer of ours says that differs from the picture numbered `since`; nothing if it does not
 * say, or if something was drawn into it since.
 */
Damage known_damage(GstBuffer* buffer, uint64_t since, const PictureArea& picture);

/** Puts the frame's acquire fence into its DMA-BUFs, where drivers and mappings find it. */
Result<void> import_fence(const CapturedFrame& frame);

/** True if the memory's rows lie where `info` says they do without a GstVideoMeta. */
bool has_default_layout(const CapturedFrame& frame, const GstVideoInfo& info);

/** Copies frames into buffers of a pool of plain memory. */
class FrameCopier {
public:
    /** `caps` are fixed raw video caps; `video_meta`: whether consumers read that meta. */
    static Result<std::unique_ptr<FrameCopier>> create(const GstCaps* caps, bool video_meta);
    ~FrameCopier();
    FrameCopier(const FrameCopier&) = delete;
    FrameCopier& operator=(const FrameCopier&) = delete;

    Result<GstPtr<GstBuffer>> copy(const CapturedFrame& frame);

private:
    FrameCopier(GstPtr<GstBufferPool> pool, const GstVideoInfo& info);

    GstPtr<GstBufferPool> pool_;
    GstVideoInfo info_;
};

/** "passed-through", "composed" or "copied". */
const char* nick_of(FramePath path);
/** The nick of GstStepscopeFrameReason. */
const char* nick_of(FrameReason reason);
/** Why a frame did not pass through, and what to do about it. */
std::string explain(FrameReason reason);

}  // namespace stepscope
