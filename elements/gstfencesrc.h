// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/base/gstpushsrc.h>

G_BEGIN_DECLS

#define GST_TYPE_FENCE_SRC (gst_fence_src_get_type())
G_DECLARE_FINAL_TYPE(GstFenceSrc, gst_fence_src, GST, FENCE_SRC, GstPushSrc)

GST_ELEMENT_REGISTER_DECLARE(fencesrc);

G_END_DECLS
