// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

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

}  // namespace

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
