// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/error.hpp"
#include "game.hpp"

namespace stepscope::testgame {

/** Plays on $WAYLAND_DISPLAY until the game is finished or its window is closed. */
Result<void> run_on_wayland(Game& game);

}  // namespace stepscope::testgame
