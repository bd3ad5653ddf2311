// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "launch_plan.hpp"
#include "session_process.hpp"

namespace stepscope {

/**
 * Shuts the command in by bubblewrap: it sees the system read-only, an empty home and /tmp, its own
 * session's runtime directory and no other, its own processes and no others. So it can reach
 * neither the session's control socket nor the user's files; the network, and the user's sound
 * server, it can. An error where bubblewrap isn't there or where this can't work: with a Steam
 * client, and in lock-step.
 */
Result<void> add_sandbox(SessionCommand& command, const LaunchSettings& settings,
                         const LaunchPlan& plan, const std::string& session);

}  // namespace stepscope
