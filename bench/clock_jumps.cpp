// SPDX-License-Identifier: LGPL-2.1-or-later
/**
 * Steps a program as fast as it can: `clock_jumps LIBRARY DELTA_NS STEPS PROGRAM [ARGUMENT…]`.
 * Prints steps per second of wall time and how many times the controller was asked.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/clock_controller.hpp"

using namespace stepscope;

int main(int argc, char** argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: clock_jumps LIBRARY DELTA_NS STEPS PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    auto created = ClockController::create({.seed = 1});
    if (!created) {
        std::fprintf(stderr, "clock_jumps: %s\n", created.error().message.c_str());
        return 1;
    }
    ClockController& clock = *created;
    const uint64_t delta = std::strtoull(argv[2], nullptr, 10);
    const long steps = std::strtol(argv[3], nullptr, 10);
    bool done = false;
    uint64_t asked = 0;
    ClockController::StepResult last;
    clock.set_callbacks({.on_step_done =
                             [&](const ClockController::StepResult& result) {
                                 done = true;
                                 last = result;
                             },
                         .on_quiescent =
                             [&] {
                                 ++asked;
                                 return true;
                             }});
    if (const auto expected = clock.expect_process(); !expected) {
        std::fprintf(stderr, "clock_jumps: %s\n", expected.error().message.c_str());
        return 1;
    }
    auto environment = clock.environment(argv[1]);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int fd : clock.inherited_fds()) {
            ::fcntl(fd, F_SETFD, 0);
        }
        for (std::string& entry : environment) {
            ::putenv(entry.data());
        }
        ::execvp(argv[4], argv + 4);
        ::_exit(127);
    }
    clock.process_started(pid);
    const auto start = std::chrono::steady_clock::now();
    const auto passed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    long count = 0;
    for (; count < steps; ++count) {
        done = false;
        if (!clock.begin_step(delta)) {
            break;
        }
        const double step_start = passed();
        while (!done && passed() - step_start < 20) {
            pollfd one{clock.fd(), POLLIN, 0};
            ::poll(&one, 1, 1000);
            clock.dispatch();
        }
        if (!done) {
            std::fprintf(stderr, "clock_jumps: step %ld did not end:\n%s", count,
                         clock.describe().c_str());
            break;
        }
        if (last.status == ClockController::StepStatus::exited ||
            last.status == ClockController::StepStatus::crashed) {
            break;
        }
    }
    const double seconds = passed();
    std::printf(
        "%ld steps in %.3f s: %.1f steps/s, %.3f s of virtual time (%.1f x), %llu asked, "
        "last: %s %s\n",
        count, seconds, static_cast<double>(count) / seconds,
        static_cast<double>(clock.now_ns()) / 1e9,
        static_cast<double>(clock.now_ns()) / 1e9 / seconds, static_cast<unsigned long long>(asked),
        to_string(last.status), last.message.c_str());
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return 0;
}
