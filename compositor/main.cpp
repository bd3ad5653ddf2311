// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/prctl.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <print>

#include "clock_library.hpp"
#include "log.hpp"
#include "options.hpp"
#include "server.hpp"

namespace stepscope {
namespace {

constexpr int kFailureStatus = 1;

int print_sessions() {
    auto sessions = list_sessions();
    if (!sessions) {
        log("{}", sessions.error().message);
        return kFailureStatus;
    }
    if (sessions->empty()) {
        log("no session is running");
        return 0;
    }
    std::println("{:<16} {:>8}  {:<11} {:<10} {:<8} {}", "SESSION", "PID", "SIZE", "HZ", "RENDERER",
                 "COMMAND");
    for (const SessionInfo& session : *sessions) {
        std::println("{:<16} {:>8}  {:<11} {:<10} {:<8} {}", session.name, session.pid,
                     std::format("{}x{}", session.width, session.height), session.refresh,
                     session.renderer, session.command);
    }
    return 0;
}

int run(int argc, char** argv) {
    auto options = parse_options(argc, argv);
    if (!options) {
        return options.error();
    }
    if (options->list) {
        return print_sessions();
    }
    if (options->die_with_parent) {
        const pid_t parent = ::getppid();
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (::getppid() != parent) {
            return kFailureStatus;
        }
    }
    // A consumer that dies in the middle of a message is no reason to end.
    ::signal(SIGPIPE, SIG_IGN);
    start_logging(options->verbose);
    auto fail_with = [](const Error& error) {
        log("{}", error.message);
        return kFailureStatus;
    };
    auto directory = SessionDirectory::create(options->session);
    if (!directory) {
        return fail_with(directory.error());
    }
    std::optional<ClockController> clock;
    if (options->lockstep) {
        if (auto library = find_clock_library(); !library) {
            return fail_with(library.error());
        }
        ClockController::Options clock_options;
        clock_options.seed = options->seed;
        auto created = ClockController::create(clock_options);
        if (!created) {
            return fail_with(created.error());
        }
        clock.emplace(std::move(*created));
    }
    std::vector<int> not_for_the_reaper;
    for (int fd : {options->ready_fd, options->events_fd}) {
        if (fd >= 0) {
            not_for_the_reaper.push_back(fd);
        }
    }
    auto reaper = start_reaper(*directory, not_for_the_reaper);
    if (!reaper) {
        return fail_with(reaper.error());
    }
    // wlroots forks Xwayland twice. Whoever waits for the end of the session finds it among our
    // children; the game's are the reaper's.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    Server server(*options, std::move(*directory), std::move(*reaper), std::move(clock));
    if (auto started = server.start(); !started) {
        return fail_with(started.error());
    }
    return server.run();
}

}  // namespace
}  // namespace stepscope

int main(int argc, char** argv) {
    try {
        return stepscope::run(argc, argv);
    } catch (const std::exception& error) {  // out of memory, or a bug
        std::fprintf(stderr, "stepscope: unexpected: %s\n", error.what());
        return 1;
    }
}
