// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/time.h>

#include "local.hpp"

/**
 * Signals wake threads behind the library's back: a thread that counts as waiting may be running
 * its handler. After each that the game sends, time moves only when the controller has seen all
 * threads asleep. Waiting for a signal is waiting for something outside.
 */
namespace stepscope::guest {

namespace {

void expect_signal() {
    if (current()) {
        wait_until_asleep();
        Locked locked;
        process.page->verify = 1;
    }
}

template <typename Function>
auto wait_for_signal(Thread& thread, Function function) {
    enter_external(thread, WaitKind::signal, kNever);
    const auto result = function();
    leave_external(thread);
    return result;
}

/** "/proc/self/task/TID/syscall" starts with "running" unless the thread is off its processor. */
bool is_asleep(int32_t tid) {
    char path[48] = "/proc/self/task/";
    char* end = path + 16;
    char digits[12];
    int count = 0;
    for (int32_t rest = tid; rest > 0; rest /= 10) {
        digits[count++] = static_cast<char>('0' + rest % 10);
    }
    while (count > 0) {
        *end++ = digits[--count];
    }
    for (const char* tail = "/syscall"; *tail; ++tail) {
        *end++ = *tail;
    }
    *end = 0;
    const long fd =
        raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return true;
    }
    char first = 0;
    const long size = raw_syscall(SYS_read, fd, reinterpret_cast<long>(&first), 1);
    raw_syscall(SYS_close, fd);
    return size <= 0 || first != 'r';
}

}  // namespace

void wait_until_asleep() {
    const ClockPage& page = *process.page;
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        const ThreadSlot& slot = page.threads[i];
        constexpr int kPatience = 1000;
        for (int turn = 0; turn < kPatience; ++turn) {
            const ThreadState state = slot.state.load();
            if (slot.process != process.index || slot.tid <= 0 ||
                slot.tid == static_cast<int32_t>(self().tid) ||
                (state != ThreadState::waiting && state != ThreadState::external) ||
                is_asleep(slot.tid)) {
                break;
            }
            real::sched_yield();
        }
    }
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int kill(pid_t pid, int signal) {
    expect_signal();
    return real::kill(pid, signal);
}

STEPSCOPE_EXPORT int pthread_kill(pthread_t thread, int signal) {
    expect_signal();
    return real::pthread_kill(thread, signal);
}

STEPSCOPE_EXPORT int pthread_cancel(pthread_t thread) {
    expect_signal();
    return real::pthread_cancel(thread);
}

STEPSCOPE_EXPORT int pause() {
    Thread* thread = current();
    return thread ? wait_for_signal(*thread, [] { return real::pause(); }) : real::pause();
}

STEPSCOPE_EXPORT int sigsuspend(const sigset_t* mask) {
    Thread* thread = current();
    return thread ? wait_for_signal(*thread, [&] { return real::sigsuspend(mask); })
                  : real::sigsuspend(mask);
}

STEPSCOPE_EXPORT int sigwait(const sigset_t* set, int* signal) {
    Thread* thread = current();
    return thread ? wait_for_signal(*thread, [&] { return real::sigwait(set, signal); })
                  : real::sigwait(set, signal);
}

STEPSCOPE_EXPORT int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
    Thread* thread = current();
    return thread ? wait_for_signal(*thread, [&] { return real::sigwaitinfo(set, info); })
                  : real::sigwaitinfo(set, info);
}

STEPSCOPE_EXPORT int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
    Thread* thread = current();
    if (!thread) {
        return real::sigtimedwait(set, info, timeout);
    }
    if (!timeout) {
        return ::sigwaitinfo(set, info);
    }
    // A descriptor can be waited for with a virtual timeout.
    const int fd = ::signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -1;
    }
    pollfd one{fd, POLLIN, 0};
    const int ready = ::ppoll(&one, 1, timeout, nullptr);
    const int saved_errno = errno;
    real::close(fd);
    errno = saved_errno;
    if (ready < 0) {
        return -1;
    }
    constexpr timespec kAtOnce{};
    return real::sigtimedwait(set, info, &kAtOnce);
}

STEPSCOPE_EXPORT useconds_t ualarm(useconds_t value, useconds_t interval) {
    if (!current()) {
        return real::ualarm(value, interval);
    }
    const auto timer_value = [](useconds_t microseconds) {
        return timeval{static_cast<time_t>(microseconds / 1'000'000),
                       static_cast<suseconds_t>(microseconds % 1'000'000)};
    };
    const itimerval next{timer_value(interval), timer_value(value)};
    itimerval old{};
    ::setitimer(ITIMER_REAL, &next, &old);
    return static_cast<useconds_t>(old.it_value.tv_sec * 1'000'000 + old.it_value.tv_usec);
}
