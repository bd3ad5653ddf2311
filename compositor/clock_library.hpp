// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "base/error.hpp"

namespace stepscope {

/**
 * Path of libstepscope-clock.so: $STEPSCOPE_CLOCK_LIBRARY, else beside this program in a build
 * tree, else where it is installed.
 */
Result<std::string> find_clock_library();

/** The same, after find_clock_library() succeeded. */
std::string clock_library_path();

/** The directory of the Vulkan layer's manifest, beside the clock library; empty where this was
 * built without. */
std::string vulkan_layer_directory();

}  // namespace stepscope
