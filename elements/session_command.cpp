// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session_command.hpp"

#include "overlay.hpp"
#include "sandbox.hpp"

namespace stepscope {

Result<SessionCommand> make_session_command(const LaunchSettings& settings, const LaunchPlan& plan,
                                            const std::string& session) {
    auto program = find_session_program(settings.program);
    if (!program) {
        return std::unexpected(program.error());
    }
    SessionCommand command{.program = *program,
                           .game = plan.launch.words,
                           .working_directory = plan.launch.working_directory,
                           .environment = plan.launch.environment,
                           .log_file = settings.log_file};
    command.options = {
        "-W", std::to_string(settings.width), "-H",        std::to_string(settings.height),
        "-r", to_string(settings.refresh),    "--session", session};
    for (const auto& [wanted, option] : {std::pair{settings.lockstep, "--lockstep"},
                                         {settings.pipewire, "--pipewire"},
                                         {settings.sound, "--audio=session"},
                                         {plan.by_client(), "--until-empty"}}) {
        if (wanted) {
            command.options.emplace_back(option);
        }
    }
    if (settings.strip_overlay) {
        if (auto stripped = strip_overlay(command, plan); !stripped) {
            return std::unexpected(stripped.error());
        }
    }
    if (settings.sandbox) {
        if (auto shut_in = add_sandbox(command, settings, plan, session); !shut_in) {
            return std::unexpected(shut_in.error());
        }
    }
    return command;
}

}  // namespace stepscope
