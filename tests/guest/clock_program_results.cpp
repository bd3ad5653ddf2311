// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include <thread>

#include "clock_program.hpp"

namespace {

int64_t to_ns(const timeval& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_usec} * 1000;
}

void waits_cut_short() {
    int ends[2];
    (void)!::pipe(ends);
    std::thread writer([&] {
        ::usleep(3'000);
        (void)!::write(ends[1], "x", 1);
    });
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    timeval rest{0, 10'000};
    const int ready = ::select(ends[0] + 1, &set, nullptr, nullptr, &rest);
    report("select_rest", ready, to_ns(rest));
    writer.join();

    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, nullptr);
    const itimerval soon{{0, 0}, {0, 40'000}};
    const timespec whole = span(100 * kMs);
    timespec left{};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
    const int result = ::nanosleep(&whole, &left);
    report("nanosleep_rest", result == -1 ? errno : 0, to_ns(left));
    left = {};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
    const int error = ::clock_nanosleep(CLOCK_MONOTONIC, 0, &whole, &left);
    report("clock_nanosleep_rest", error, to_ns(left));
}

void timers_that_run() {
    const itimerval forty{{0, 0}, {0, 40'000}};
    const itimerval fifty{{0, 0}, {0, 50'000}};
    ::setitimer(ITIMER_REAL, &forty, nullptr);
    ::usleep(20'000);
    itimerval before{};
    int result = ::setitimer(ITIMER_REAL, &fifty, &before);
    report("setitimer_old", result, to_ns(before.it_value));
    ::usleep(20'000);
    result = ::getitimer(ITIMER_REAL, &before);
    report("getitimer", result, to_ns(before.it_value));
    const itimerval none{};
    ::setitimer(ITIMER_REAL, &none, nullptr);

    sigevent quiet{};
    quiet.sigev_notify = SIGEV_NONE;
    timer_t timer;
    ::timer_create(CLOCK_MONOTONIC, &quiet, &timer);
    const itimerspec shot{{0, 0}, span(40 * kMs)};
    ::timer_settime(timer, 0, &shot, nullptr);
    ::usleep(5'000);
    itimerspec value{};
    result = ::timer_gettime(timer, &value);
    report("timer_gettime", result, to_ns(value.it_value));
    value = {};
    result = ::timer_settime(timer, 0, &shot, &value);
    report("timer_settime_old", result, to_ns(value.it_value));
    ::timer_delete(timer);

    const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const itimerspec later_shot{{0, 0}, span(50 * kMs)};
    ::timerfd_settime(fd, 0, &later_shot, nullptr);
    ::usleep(5'000);
    value = {};
    result = ::timerfd_settime(fd, 0, &shot, &value);
    report("timerfd_settime_old", result, to_ns(value.it_value));
    ::close(fd);
}

void timed_locks() {
    static mtx_t mutex;
    mtx_init(&mutex, mtx_timed);
    mtx_lock(&mutex);
    static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    pthread_rwlock_wrlock(&lock);
    std::thread other([] {
        measure("mtx_timedlock", [] {
            const timespec time = later(CLOCK_REALTIME, 10 * kMs);
            return mtx_timedlock(&mutex, &time) == thrd_timedout ? 1 : 0;
        });
        measure("rwlock_timedwrlock", [] {
            const timespec time = later(CLOCK_REALTIME, 11 * kMs);
            return pthread_rwlock_timedwrlock(&lock, &time);
        });
        measure("rwlock_clockrdlock", [] {
            const timespec time = later(CLOCK_MONOTONIC, 12 * kMs);
            return pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &time);
        });
    });
    other.join();
    std::thread sleeper([] { ::usleep(50'000); });
    measure("clockjoin", [&] {
        const timespec time = later(CLOCK_MONOTONIC, 13 * kMs);
        return pthread_clockjoin_np(sleeper.native_handle(), nullptr, CLOCK_MONOTONIC, &time);
    });
    sleeper.join();
}

void message() {
    int pair[2];
    ::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    std::thread sender([&] {
        ::usleep(6'000);
        (void)!::send(pair[1], "yz", 2, 0);
    });
    char bytes[8];
    iovec part{bytes, sizeof bytes};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    measure("recvmsg", [&] { return static_cast<int>(::recvmsg(pair[0], &header, 0)); });
    sender.join();
}

/** The second value: whether the child's memory was counted. */
void children_that_end() {
    rusage usage{};
    int status = 0;
    pid_t child = ::fork();
    if (child == 0) {
        ::_exit(5);
    }
    ::wait4(child, &status, 0, &usage);
    report("wait4", WEXITSTATUS(status), usage.ru_maxrss > 0 && usage.ru_maxrss < 1'000'000);
    usage = {};
    child = ::fork();
    if (child == 0) {
        ::_exit(6);
    }
    ::wait3(&status, 0, &usage);
    report("wait3", WEXITSTATUS(status), usage.ru_maxrss > 0 && usage.ru_maxrss < 1'000'000);
}

}  // namespace

void results() {
    timespec resolution{};
    const int result = ::clock_getres(CLOCK_MONOTONIC, &resolution);
    report("clock_getres", result, to_ns(resolution));
    waits_cut_short();
    timers_that_run();
    timed_locks();
    message();
    children_that_end();
}
