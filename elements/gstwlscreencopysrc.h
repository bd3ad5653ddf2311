/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/base/gstpushsrc.h>
#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_WL_SCREENCOPY_SRC (gst_wl_screencopy_src_get_type())
G_DECLARE_FINAL_TYPE(GstWlScreencopySrc, gst_wl_screencopy_src, GST, WL_SCREENCOPY_SRC, GstPushSrc)

GST_ELEMENT_REGISTER_DECLARE(wlscreencopysrc);

G_END_DECLS
