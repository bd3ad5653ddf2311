// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "options.hpp"
#include "report.hpp"

namespace stepscope::testgame {

/**
 * Starts what --company asks for: threads, and children with a thread of their own, that report a
 * "tick" each 5 ms until the game ends. Before anything else of the game starts.
 */
void start_company(const Options& options, Report& report);

}  // namespace stepscope::testgame
