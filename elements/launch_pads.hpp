// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include "launch_plan.hpp"

namespace stepscope {

/** What downstream of `pad` has fixed is what the session should be like from its start. */
void apply_peer_caps(GstPad* pad, LaunchSettings& settings);

/** Ends the stream of a pad of `element`; one that never had data gets a beginning before. */
void push_eos(GstElement* element, GstPad* pad);

}  // namespace stepscope
