/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_STEAM_LAUNCH_SRC (gst_steam_launch_src_get_type())
G_DECLARE_FINAL_TYPE(GstSteamLaunchSrc, gst_steam_launch_src, GST, STEAM_LAUNCH_SRC, GstBin)

GST_ELEMENT_REGISTER_DECLARE(steamlaunchsrc);

G_END_DECLS
