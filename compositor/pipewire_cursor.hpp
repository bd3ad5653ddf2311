// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <spa/buffer/buffer.h>

#include <cstddef>
#include <cstdint>

#include "capture_output.hpp"

namespace stepscope {

/** Room that metadata for a cursor of that side takes. */
size_t cursor_room(uint32_t side);
/** What we ask for where a consumer has no wish, and the most that we fill. */
inline constexpr uint32_t kUsualCursorSide = 96;
inline constexpr uint32_t kMaxCursorSide = 384;

/** Says, where room for it was agreed on, where the output's cursor is and what it looks like, in a
 * picture of that size. */
void write_cursor(spa_buffer* buffer, CaptureOutput& output, uint32_t width, uint32_t height);

}  // namespace stepscope
