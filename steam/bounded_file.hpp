// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <string>

#include "base/error.hpp"

namespace stepscope::steam {

/**
 * The whole of a regular file. Never blocks on a FIFO or device put in its place, and refuses a
 * file that is larger than `max_bytes`, also one that grows meanwhile.
 */
Result<std::string> read_bounded_file(const std::string& path, size_t max_bytes);

/** The last `bytes` of a regular file, or all of a shorter one. */
Result<std::string> read_file_tail(const std::string& path, size_t bytes);

}  // namespace stepscope::steam
