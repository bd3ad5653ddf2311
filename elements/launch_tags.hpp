// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include "gst/gst_ptr.hpp"
#include "launch_plan.hpp"

namespace stepscope {

inline constexpr const char* kAppIdTag = "steam-app-id";
inline constexpr const char* kBuildIdTag = "steam-build-id";

/** Makes GStreamer know our tags. */
void register_launch_tags();

/** What a recording should say of where it comes from. */
GstPtr<GstTagList> make_launch_tags(const LaunchPlan& plan);

}  // namespace stepscope
