// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/base/gstbasesink.h>

G_BEGIN_DECLS

#define GST_TYPE_FENCE_SINK (gst_fence_sink_get_type())
G_DECLARE_FINAL_TYPE(GstFenceSink, gst_fence_sink, GST, FENCE_SINK, GstBaseSink)

GST_ELEMENT_REGISTER_DECLARE(fencesink);

G_END_DECLS
