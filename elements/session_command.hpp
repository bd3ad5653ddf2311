// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "launch_plan.hpp"
#include "session_process.hpp"

namespace stepscope {

/** The session that a plan needs, under that name: stepscope's options and all that goes around the
 * command. */
Result<SessionCommand> make_session_command(const LaunchSettings& settings, const LaunchPlan& plan,
                                            const std::string& session);

}  // namespace stepscope
