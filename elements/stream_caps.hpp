// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/frame_wire.hpp"
#include "gst/picture_caps.hpp"

/** Caps of video on either end of a frame socket. */
namespace stepscope {

/**
 * What the socket says of pictures with these fixed caps; the numbers of the stream and the length
 * of steps are left open. An error for caps that a consumer could not be told.
 */
Result<wire::Stream> stream_of(const GstCaps* caps, MemoryKind memory);

/** The caps that a consumer has of it; an error if it makes no sense. */
Result<GstPtr<GstCaps>> caps_of(const wire::Stream& stream);

PictureFormat format_of(const wire::Stream& stream);

}  // namespace stepscope
