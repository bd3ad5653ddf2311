// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include "input_injector.hpp"

namespace stepscope {

/**
 * Does to the session what a GstNavigation event says, whose positions count in pixels of a picture
 * of the given size. False for events of other kinds; an error where the session can't follow.
 */
Result<bool> inject_navigation(InputInjector& injector, GstEvent* event, uint32_t width,
                               uint32_t height);

}  // namespace stepscope
