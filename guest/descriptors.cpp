// SPDX-License-Identifier: LGPL-2.1-or-later
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "local.hpp"

/** Waits for descriptors: readiness is real, the timeout virtual. */
namespace stepscope::guest {

namespace {

constexpr int kMaxProtected = 4096;
constinit std::atomic<bool> protected_fds[kMaxProtected];

uint64_t deadline_of(int timeout_ms) {
    return timeout_ms < 0 ? kNever : deadline_after(uint64_t(timeout_ms) * 1'000'000);
}

/** What is awaited of X servers: POLLIN where answers are, with POLLOUT where requests are about to
 * be sent. */
short awaited_of_x11(const pollfd* fds, nfds_t count) {
    int events = 0;
    for (nfds_t i = 0; i < count; ++i) {
        events |= x11_events(fds[i].fd, fds[i].events);
    }
    return static_cast<short>(events);
}

/**
 * Blocks until a descriptor is ready, the virtual deadline comes (0) or a signal handler ran.
 * For the result of a wait that ended with the deadline the descriptors are looked at once more.
 */
int poll_until(Thread& thread, pollfd* fds, nfds_t count, uint64_t deadline, const sigset_t* mask) {
    constexpr timespec kAtOnce{};
    const short x11 = awaited_of_x11(fds, count);
    if (x11 & POLLOUT) {
        thread.turn = kNever;  // the server will have something to do
    }
    const bool takes_turns = x11 == POLLIN;
    if (takes_turns && deadline <= now()) {
        wait_for_turn(thread);
    }
    int ready = real::ppoll(fds, count, &kAtOnce, mask);
    if (ready > 0 && takes_turns) {
        wait_for_turn(thread);
        ready = real::ppoll(fds, count, &kAtOnce, mask);
    }
    if (ready != 0) {
        return ready;
    }
    if (deadline <= now()) {
        looked_at_clock(thread);
        return 0;
    }
    if (deadline == kNever) {
        do {
            enter_external(thread, WaitKind::descriptors, kNever);
            ready = real::ppoll(fds, count, nullptr, mask);
            leave_external(thread);
            if (ready > 0 && takes_turns) {
                wait_for_turn(thread);
                ready = real::ppoll(fds, count, &kAtOnce, mask);
            }
        } while (ready == 0);
        return ready;
    }
    auto* all = static_cast<pollfd*>(::alloca((count + 1) * sizeof(pollfd)));
    for (;;) {
        if (count > 0) {
            ::memcpy(all, fds, count * sizeof(pollfd));
        }
        enter_external(thread, WaitKind::descriptors, deadline);
        all[count] = {thread.wake_fd, POLLIN, 0};
        ready = real::ppoll(all, count + 1, nullptr, mask);
        const bool timeout = leave_external(thread);
        if (ready < 0) {
            return ready;
        }
        if (timeout) {
            return real::ppoll(fds, count, &kAtOnce, nullptr);
        }
        const int ours = all[count].revents != 0;
        if (ready - ours > 0) {
            if (takes_turns) {
                wait_for_turn(thread);
                return real::ppoll(fds, count, &kAtOnce, nullptr);
            }
            for (nfds_t i = 0; i < count; ++i) {
                fds[i].revents = all[i].revents;
            }
            return ready - ours;
        }
    }
}

/** Before a call that reads from one descriptor: waits for it here, if the call would. */
void wait_ready(Thread& thread, int fd, short events, bool blocks) {
    const int saved_errno = errno;
    pollfd one{fd, events, 0};
    constexpr timespec kAtOnce{};
    const bool x11 = is_x11(fd);
    if (x11) {
        wait_for_turn(thread);
    } else if (!blocks) {
        errno = saved_errno;
        return;
    }
    if (real::ppoll(&one, 1, &kAtOnce, nullptr) == 0) {
        const long flags = raw_syscall(SYS_fcntl, fd, F_GETFL);
        if (blocks && flags >= 0 && !(flags & O_NONBLOCK)) {
            enter_external(thread, WaitKind::descriptors, kNever);
            // A signal handler ends it: the call itself then decides between EINTR and waiting.
            real::ppoll(&one, 1, nullptr, nullptr);
            leave_external(thread);
            if (x11) {
                wait_for_turn(thread);
            }
        } else if (x11) {
            looked_at_clock(thread);
        }
    }
    if (x11) {
        thread.turn = kNever;  // what comes next is another look
    }
    errno = saved_errno;
}

template <typename Function>
int epoll_until(Thread& thread, int fd, uint64_t deadline, const sigset_t* mask, Function collect) {
    // What is collected may not be ready another time: with X servers not before it is its turn.
    if (x11_events(fd, POLLIN) != POLLIN) {
        const int ready = collect();
        if (ready != 0) {
            return ready;
        }
    }
    for (;;) {
        pollfd one{fd, POLLIN, 0};
        const int woken = poll_until(thread, &one, 1, deadline, mask);
        if (woken < 0) {
            return woken;
        }
        const int ready = collect();
        if (ready != 0 || woken == 0) {
            return ready;
        }
    }
}

/** It is about to be closed, or was replaced: what is known of it ends. */
void forget_fd(int fd) {
    forget_random_fd(fd);
    forget_x11_fd(fd);
    close_timer_fd(fd);
}

bool is_set(const fd_set* set, int fd) {
    return set && FD_ISSET(fd, set);
}

int select_until(Thread& thread, int count, fd_set* read, fd_set* write, fd_set* except,
                 uint64_t deadline, const sigset_t* mask) {
    if (count < 0 || count > FD_SETSIZE) {
        errno = EINVAL;
        return -1;
    }
    fd_set wanted_read, wanted_write, wanted_except;
    const auto copy = [](fd_set& to, const fd_set* from) {
        if (from) {
            to = *from;
        }
    };
    copy(wanted_read, read);
    copy(wanted_write, write);
    copy(wanted_except, except);
    auto* fds = static_cast<pollfd*>(::alloca((static_cast<size_t>(count) + 1) * sizeof(pollfd)));
    nfds_t used = 0;
    for (int fd = 0; fd < count; ++fd) {
        const short events =
            static_cast<short>((is_set(read ? &wanted_read : nullptr, fd) ? POLLIN : 0) |
                               (is_set(write ? &wanted_write : nullptr, fd) ? POLLOUT : 0) |
                               (is_set(except ? &wanted_except : nullptr, fd) ? POLLPRI : 0));
        if (events) {
            fds[used++] = {fd, events, 0};
        }
    }
    constexpr timespec kAtOnce{};
    int ready = 0;
    if (awaited_of_x11(fds, used) != POLLIN) {
        ready = real::pselect(count, read, write, except, &kAtOnce, mask);
        if (ready != 0) {
            return ready;
        }
    }
    do {
        const int woken = poll_until(thread, fds, used, deadline, mask);
        if (woken < 0) {
            return woken;
        }
        if (read) {
            *read = wanted_read;
        }
        if (write) {
            *write = wanted_write;
        }
        if (except) {
            *except = wanted_except;
        }
        ready = real::pselect(count, read, write, except, &kAtOnce, nullptr);
        if (woken == 0) {
            return ready;
        }
    } while (ready == 0);
    return ready;
}

}  // namespace

Thread* reader(int fd, short events, bool blocks) {
    Thread* thread = current();
    if (thread && (blocks || !process.display_server)) {
        wait_ready(*thread, fd, events, blocks);
    }
    return thread;
}

void protect_fd(int fd, bool on) {
    if (fd >= 0 && fd < kMaxProtected) {
        protected_fds[fd].store(on, std::memory_order_relaxed);
    }
}

bool is_library_fd(int fd) {
    return fd == process.page_fd || fd == process.notify_fd ||
           (fd >= 0 && fd < kMaxProtected && protected_fds[fd].load(std::memory_order_relaxed));
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int ppoll(pollfd* fds, nfds_t count, const timespec* timeout,
                           const sigset_t* mask) {
    Thread* thread = current();
    if (!thread || (timeout && !valid(*timeout))) {
        return real::ppoll(fds, count, timeout, mask);
    }
    return poll_until(*thread, fds, count, timeout ? deadline_after(*timeout) : kNever, mask);
}

STEPSCOPE_EXPORT int poll(pollfd* fds, nfds_t count, int timeout_ms) {
    Thread* thread = current();
    return thread ? poll_until(*thread, fds, count, deadline_of(timeout_ms), nullptr)
                  : real::poll(fds, count, timeout_ms);
}

STEPSCOPE_EXPORT int __poll_chk(pollfd* fds, nfds_t count, int timeout_ms, size_t size) {
    if (size / sizeof(pollfd) < count) {
        ::abort();
    }
    return ::poll(fds, count, timeout_ms);
}

#if !defined(__i386__)
STEPSCOPE_EXPORT int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout,
                                 const sigset_t* mask, size_t size) {
    if (size / sizeof(pollfd) < count) {
        ::abort();
    }
    return ::ppoll(fds, count, timeout, mask);
}
#endif

STEPSCOPE_EXPORT int pselect(int count, fd_set* read, fd_set* write, fd_set* except,
                             const timespec* timeout, const sigset_t* mask) {
    Thread* thread = current();
    if (!thread || (timeout && !valid(*timeout))) {
        return real::pselect(count, read, write, except, timeout, mask);
    }
    return select_until(*thread, count, read, write, except,
                        timeout ? deadline_after(*timeout) : kNever, mask);
}

STEPSCOPE_EXPORT int select(int count, fd_set* read, fd_set* write, fd_set* except,
                            timeval* timeout) {
    Thread* thread = current();
    if (!thread || (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0))) {
        return real::select(count, read, write, except, timeout);
    }
    const uint64_t deadline =
        timeout
            ? deadline_after(timespec{timeout->tv_sec, static_cast<long>(timeout->tv_usec * 1000)})
            : kNever;
    const int ready = select_until(*thread, count, read, write, except, deadline, nullptr);
    if (timeout && ready >= 0) {
        // Linux leaves what remains of the timeout.
        const timespec rest = to_timespec(deadline > now() ? deadline - now() : 0);
        *timeout = {rest.tv_sec, rest.tv_nsec / 1000};
    }
    return ready;
}

STEPSCOPE_EXPORT int epoll_pwait(int fd, epoll_event* events, int count, int timeout_ms,
                                 const sigset_t* mask) {
    Thread* thread = current();
    if (!thread) {
        return real::epoll_pwait(fd, events, count, timeout_ms, mask);
    }
    return epoll_until(*thread, fd, deadline_of(timeout_ms), mask,
                       [&] { return real::epoll_pwait(fd, events, count, 0, mask); });
}

STEPSCOPE_EXPORT int epoll_wait(int fd, epoll_event* events, int count, int timeout_ms) {
    return current() ? ::epoll_pwait(fd, events, count, timeout_ms, nullptr)
                     : real::epoll_wait(fd, events, count, timeout_ms);
}

STEPSCOPE_EXPORT int epoll_pwait2(int fd, epoll_event* events, int count, const timespec* timeout,
                                  const sigset_t* mask) {
    Thread* thread = current();
    if (!thread || (timeout && !valid(*timeout))) {
        return real::epoll_pwait2(fd, events, count, timeout, mask);
    }
    return epoll_until(*thread, fd, timeout ? deadline_after(*timeout) : kNever, mask,
                       [&] { return real::epoll_pwait(fd, events, count, 0, mask); });
}

STEPSCOPE_EXPORT ssize_t read(int fd, void* buffer, size_t size) {
    Thread* thread = current();
    if (thread && is_random_fd(fd)) {
        fill_random(*thread, buffer, size);
        return static_cast<ssize_t>(size);
    }
    reader(fd, POLLIN);
    const ssize_t got = real::read(fd, buffer, size);
    if (thread && got > 0) {
        restamp_events(fd, buffer, static_cast<size_t>(got));
    }
    return got;
}

STEPSCOPE_EXPORT ssize_t __read_chk(int fd, void* buffer, size_t size, size_t room) {
    if (size > room) {
        ::abort();
    }
    return ::read(fd, buffer, size);
}

STEPSCOPE_EXPORT ssize_t readv(int fd, const iovec* parts, int count) {
    reader(fd, POLLIN);
    return real::readv(fd, parts, count);
}

STEPSCOPE_EXPORT ssize_t recv(int fd, void* buffer, size_t size, int flags) {
    reader(fd, POLLIN, !(flags & MSG_DONTWAIT));
    return real::recv(fd, buffer, size, flags);
}

STEPSCOPE_EXPORT ssize_t __recv_chk(int fd, void* buffer, size_t size, size_t room, int flags) {
    if (size > room) {
        ::abort();
    }
    return ::recv(fd, buffer, size, flags);
}

STEPSCOPE_EXPORT ssize_t recvfrom(int fd, void* buffer, size_t size, int flags, sockaddr* address,
                                  socklen_t* length) {
    reader(fd, POLLIN, !(flags & MSG_DONTWAIT));
    return real::recvfrom(fd, buffer, size, flags, address, length);
}

STEPSCOPE_EXPORT ssize_t __recvfrom_chk(int fd, void* buffer, size_t size, size_t room, int flags,
                                        sockaddr* address, socklen_t* length) {
    if (size > room) {
        ::abort();
    }
    return ::recvfrom(fd, buffer, size, flags, address, length);
}

STEPSCOPE_EXPORT ssize_t recvmsg(int fd, msghdr* message, int flags) {
    reader(fd, POLLIN, !(flags & MSG_DONTWAIT));
    return real::recvmsg(fd, message, flags);
}

STEPSCOPE_EXPORT int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
    reader(fd, POLLIN);
    return real::accept4(fd, address, length, flags);
}

STEPSCOPE_EXPORT int accept(int fd, sockaddr* address, socklen_t* length) {
    reader(fd, POLLIN);
    return real::accept(fd, address, length);
}

STEPSCOPE_EXPORT int close(int fd) {
    if (current() && fd >= 0) {
        // Programs that close all descriptors that they don't know must not lose the clock's.
        if (is_library_fd(fd)) {
            return 0;
        }
        leave_display(fd);
        forget_fd(fd);
    }
    return real::close(fd);
}

STEPSCOPE_EXPORT int dup2(int from, int to) {
    const int result = real::dup2(from, to);
    if (result >= 0 && from != to && current()) {
        forget_fd(to);
    }
    return result;
}

STEPSCOPE_EXPORT int dup3(int from, int to, int flags) {
    const int result = real::dup3(from, to, flags);
    if (result >= 0 && current()) {
        forget_fd(to);
    }
    return result;
}

STEPSCOPE_EXPORT int close_range(unsigned first, unsigned last, int flags) {
    if (!current()) {
        return real::close_range(first, last, flags);
    }
    // Around every descriptor of the library, lowest first.
    constexpr unsigned kHighest = 4096;
    unsigned start = first;
    for (unsigned fd = first; fd <= last && fd < kHighest; ++fd) {
        if (is_library_fd(static_cast<int>(fd))) {
            if (fd > start) {
                real::close_range(start, fd - 1, flags);
            }
            start = fd + 1;
        } else if (!(flags & ~CLOSE_RANGE_UNSHARE)) {
            forget_fd(static_cast<int>(fd));
        }
    }
    return start <= last ? real::close_range(start, last, flags) : 0;
}

STEPSCOPE_EXPORT void closefrom(int first) {
    ::close_range(first < 0 ? 0u : static_cast<unsigned>(first), ~0u, 0);
}
