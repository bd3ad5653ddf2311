// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include "launch_plan.hpp"
#include "launch_sources.hpp"

namespace stepscope {

/** Properties of steamlaunchsrc that it keeps itself. */
struct LaunchProperties {
    LaunchSettings settings;
    CaptureBy capture = CaptureBy::pull;
};

/**
 * Declares steamlaunchsrc's properties. Those named like properties of the inner video source
 * (mode, zero-copy, cursor, num-buffers, stats) have its types and are passed on to it.
 */
void install_launch_properties(GObjectClass* object_class);

/** The name of the inner source's property that `id` stands for; null for the bin's own. */
const char* passed_on_property(guint id);

/** Both return false for an id that isn't the bin's own. */
bool set_launch_property(LaunchProperties& properties, guint id, const GValue* value);
bool get_launch_property(const LaunchProperties& properties, guint id, GValue* value);

}  // namespace stepscope
