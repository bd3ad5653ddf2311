// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/video/video.h>

#include "gst_ptr.hpp"

namespace stepscope {

/**
 * Memory that other processes can be given: memfds, sealed so that their size never changes. (The
 * GstShmAllocator of GStreamer makes ones that can shrink under a reader.)
 */
GstPtr<GstAllocator> shared_allocator();

/** A pool of such memory, not active yet, for fixed raw caps; null if it can't be set up. */
GstPtr<GstBufferPool> make_shared_pool(GstCaps* caps, const GstVideoInfo& info, guint least);

}  // namespace stepscope
