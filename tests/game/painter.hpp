// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include "options.hpp"
#include "tests/game/frame_code.hpp"

namespace stepscope::testgame {

/** What dialog, menu and cursor are filled with, 0xRRGGBB. */
inline constexpr uint32_t kDialogColour = 0x804020;
inline constexpr uint32_t kPopupColour = 0x208040;
inline constexpr uint32_t kCursorColour = 0xff00ff;

/** Their sizes in pixels. */
inline constexpr int kDialogWidth = 240;
inline constexpr int kDialogHeight = 120;
inline constexpr int kPopupWidth = 120;
inline constexpr int kPopupHeight = 160;
inline constexpr int kCursorSize = 16;

void paint_solid(const frame_code::Pixels& image, uint32_t colour);

/** Draws frame `number`; with Paint::stripe only the codes change. */
void paint_frame(const frame_code::Pixels& image, Paint paint, uint32_t number,
                 uint32_t input_sequence);

/** A triangle with its tip, the hot spot, at (0, 0); transparent elsewhere. */
void paint_cursor(const frame_code::Pixels& image);

}  // namespace stepscope::testgame
