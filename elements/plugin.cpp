// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * plugin-stepscope:
 *
 * Elements that capture and control games which run in a Stepscope session.
 *
 * Since: 0.1
 */

#include "gstfencesink.h"
#include "gstfencesrc.h"
#include "gststeamdeviceprovider.h"
#include "gststeamlaunchsrc.h"
#include "gststepsoundsrc.h"
#include "gstwlscreencopysrc.h"

static gboolean plugin_init(GstPlugin* plugin) {
    // The plugin is of use if at least one of its elements is.
    gboolean any = FALSE;
    any |= GST_ELEMENT_REGISTER(wlscreencopysrc, plugin);
    any |= GST_ELEMENT_REGISTER(fencesink, plugin);
    any |= GST_ELEMENT_REGISTER(fencesrc, plugin);
    any |= GST_ELEMENT_REGISTER(steamlaunchsrc, plugin);
    any |= GST_ELEMENT_REGISTER(stepsoundsrc, plugin);
    any |= GST_DEVICE_PROVIDER_REGISTER(steamdeviceprovider, plugin);
    return any;
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, stepscope,
                  "Capture of games in Stepscope sessions", plugin_init, PACKAGE_VERSION, "LGPL",
                  "Stepscope", PACKAGE_ORIGIN)
