/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_STEAM_DEVICE_PROVIDER (gst_steam_device_provider_get_type())
G_DECLARE_FINAL_TYPE(GstSteamDeviceProvider, gst_steam_device_provider, GST, STEAM_DEVICE_PROVIDER,
                     GstDeviceProvider)

#define GST_TYPE_STEAM_DEVICE (gst_steam_device_get_type())
G_DECLARE_FINAL_TYPE(GstSteamDevice, gst_steam_device, GST, STEAM_DEVICE, GstDevice)

GST_DEVICE_PROVIDER_REGISTER_DECLARE(steamdeviceprovider);

G_END_DECLS
