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

/** Whether there is one for 32-bit programs, too: in lib32 beside that for 64-bit ones. */
bool has_clock_library_32();

/** What LD_PRELOAD says: the library's path; where there is one for 32-bit programs, with $LIB in
 * it, which the dynamic loader replaces by the name of its own kind of directory. */
std::string clock_preload();

/** Why this program, named as for exec(), will run on real time; empty where it will not, or where
 * that can't be told: of a script, or of a file that can't be read. */
std::string why_on_real_time(const std::string& program);

/** The directory of the Vulkan layer's manifest, beside the clock library; empty where this was
 * built without. */
std::string vulkan_layer_directory();

}  // namespace stepscope
