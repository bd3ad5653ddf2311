// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "launch_plan.hpp"
#include "session_process.hpp"

namespace stepscope {

/**
 * Keeps Steam's overlay, whose library is preloaded and composes over the game, out of it. What we
 * start ourselves gets an LD_PRELOAD without it. A client that we start sets the variable itself:
 * it gets to see empty files in the library's place, by bubblewrap; an error (unsupported) where
 * that isn't installed.
 */
Result<void> strip_overlay(SessionCommand& command, const LaunchPlan& plan);

}  // namespace stepscope
