// SPDX-License-Identifier: LGPL-2.1-or-later
#include "company.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

namespace stepscope::testgame {

namespace {

[[noreturn]] void tick(Report& report, const char* who, unsigned number) {
    for (uint64_t count = 1;; ++count) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        report.write("tick", {{"who", who}, {"number", number}, {"count", count}});
    }
}

void start_child(Report& report, unsigned number) {
    const pid_t parent = getpid();
    if (fork() != 0) {
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(0);
    }
    std::thread([&report, number] { tick(report, "child's thread", number); }).detach();
    tick(report, "child", number);
}

}  // namespace

void start_company(const Options& options, Report& report) {
    for (unsigned i = 0; i < options.company; ++i) {
        start_child(report, i);
    }
    for (unsigned i = 0; i < options.company; ++i) {
        std::thread([&report, i] { tick(report, "thread", i); }).detach();
    }
}

}  // namespace stepscope::testgame
