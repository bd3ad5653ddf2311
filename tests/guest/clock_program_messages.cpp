// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "clock_program.hpp"

void messages() {
    const std::string name = "/stepscope-test-" + std::to_string(::getpid());
    mq_attr size{};
    size.mq_maxmsg = 1;
    size.mq_msgsize = 8;
    const mqd_t queue = ::mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &size);
    if (queue < 0) {
        report("mq_open", errno, 0);
        return;
    }
    ::mq_unlink(name.c_str());
    char text[8];
    measure("mq_timedreceive", [&] {
        const timespec end = later(CLOCK_REALTIME, 6 * kMs);
        return ::mq_timedreceive(queue, text, sizeof text, nullptr, &end) < 0 ? errno : 0;
    });
    measure("mq_invalid", [&] {
        const timespec end{0, 1'000'000'000};
        return ::mq_timedreceive(queue, text, sizeof text, nullptr, &end) < 0 ? errno : 0;
    });
    std::thread sender([&] {
        ::usleep(8'000);
        ::mq_send(queue, "abc", 3, 0);
    });
    measure("mq_receive", [&] { return ::mq_receive(queue, text, sizeof text, nullptr); });
    sender.join();
    ::mq_send(queue, "a", 1, 0);
    measure("mq_timedsend", [&] {
        const timespec end = later(CLOCK_REALTIME, 7 * kMs);
        return ::mq_timedsend(queue, "b", 1, 0, &end) < 0 ? errno : 0;
    });
    std::thread receiver([&] {
        ::usleep(9'000);
        ::mq_receive(queue, text, sizeof text, nullptr);
    });
    measure("mq_send", [&] { return ::mq_send(queue, "b", 1, 0); });
    receiver.join();
    ::mq_close(queue);
}

void old_clocks() {
    tms used{};
    rusage usage{};
    const clock_t start = ::times(&used);
    const clock_t start_used = used.tms_utime;
    ::usleep(30'000);
    const clock_t end = ::times(&used);
    report("times", end - start, used.tms_utime - start_used);
    const int result = ::getrusage(RUSAGE_SELF, &usage);
    report("getrusage", result,
           int64_t{usage.ru_utime.tv_sec} * 1'000'000'000 + int64_t{usage.ru_utime.tv_usec} * 1000);
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, nullptr);
    measure("ualarm", [] {
        ::ualarm(12'000, 0);
        return ::pause();
    });
}
