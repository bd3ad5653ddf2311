// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <glib-object.h>

namespace stepscope {

enum class CaptureMode { live, lockstep };

enum {
    PROP_0,
    PROP_SESSION,
    PROP_DISPLAY,
    PROP_OUTPUT,
    PROP_REGION,
    PROP_CURSOR,
    PROP_ZERO_COPY,
    PROP_MAX_BUFFERS,
    PROP_STATS,
    PROP_MODE,
    PROP_FRAMES_PER_STEP,
    PROP_TIMEOUT,
    PROP_ON_NO_FRAME,
    PROP_START_PAUSED,
};

/** Declares wlscreencopysrc's properties, whose defaults are those of CaptureSettings. */
void install_capture_properties(GObjectClass* object_class);

}  // namespace stepscope
