// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "local.hpp"

/** The end of a program's windows: they go with its connection to the display. */
namespace stepscope::guest {

namespace {

constexpr int kMaxFd = 4096;
constinit std::atomic<bool> displays[kMaxFd];
constinit std::atomic<uint32_t> display_count = 0;

bool starts_with(const char* text, const char* prefix) {
    return ::strncmp(text, prefix, ::strlen(prefix)) == 0;
}

/** An X server's socket, or one that has a name as Wayland's have. */
bool is_display(const sockaddr* address, socklen_t size) {
    if (!address || size <= offsetof(sockaddr_un, sun_path) || address->sa_family != AF_UNIX) {
        return false;
    }
    sockaddr_un unix_address{};
    ::memcpy(&unix_address, address, size < sizeof unix_address ? size : sizeof unix_address - 1);
    // Names outside the file system begin with a zero.
    const char* path = unix_address.sun_path + (unix_address.sun_path[0] == 0);
    const char* slash = ::strrchr(path, '/');
    return starts_with(path, "/tmp/.X11-unix/") || (slash && starts_with(slash, "/wayland-"));
}

/**
 * First, at the same instant, until the display has read all that was sent to it: where the end of
 * a connection comes with unread requests, libwayland throws those away. Then until the step's
 * picture was shown: an X server has what was drawn, and shows it at the step's end.
 */
void take_leave(Thread& thread) {
    ClockPage& page = *process.page;
    const auto open = [&] { return page.step.load(std::memory_order_relaxed) == StepState::open; };
    if (process.display_server) {
        return;
    }
    const int saved_errno = errno;
    {
        Locked locked;
        if (!open()) {
            return;
        }
        page.verify = 1;  // the controller is asked before time moves
        wait(thread, locked, nullptr, 0, WaitKind::descriptors, now());
    }
    if (page.windows.load(std::memory_order_relaxed) != 0) {
        Locked locked;
        if (open()) {
            wait(thread, locked, nullptr, 0, WaitKind::leave, kNever);
        }
    }
    errno = saved_errno;
}

void leave_all() {
    if (display_count.load(std::memory_order_relaxed) == 0) {
        return;
    }
    disown_displays();
    if (Thread* thread = current()) {
        take_leave(*thread);
    }
}

}  // namespace

void leave_display(int fd) {
    if (fd < 0 || fd >= kMaxFd || !displays[fd].load(std::memory_order_relaxed) ||
        !displays[fd].exchange(false, std::memory_order_relaxed)) {
        return;
    }
    display_count.fetch_sub(1, std::memory_order_relaxed);
    if (Thread* thread = current()) {
        take_leave(*thread);
    }
}

void disown_displays() {
    for (int fd = 0; fd < kMaxFd && display_count.load(std::memory_order_relaxed) != 0; ++fd) {
        if (displays[fd].exchange(false, std::memory_order_relaxed)) {
            display_count.fetch_sub(1, std::memory_order_relaxed);
        }
    }
}

void watch_process_exit() {
    // For a main() that returns: the C library's own call of exit() is not seen. Registered as one
    // of the first, it runs as one of the last.
    ::atexit(leave_all);
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int connect(int fd, const sockaddr* address, socklen_t size) {
    const bool counts = current() && !process.display_server;
    if (counts) {
        forget_x11_fd(fd);
    }
    const int result = real::connect(fd, address, size);
    if (counts && (result == 0 || errno == EINPROGRESS) && is_display(address, size)) {
        note_display_connection();
        if (fd < kMaxFd && !displays[fd].exchange(true, std::memory_order_relaxed)) {
            display_count.fetch_add(1, std::memory_order_relaxed);
        }
    }
    return result;
}

STEPSCOPE_EXPORT int shutdown(int fd, int how) {
    if (current() && how != SHUT_RD) {
        leave_display(fd);
    }
    return real::shutdown(fd, how);
}

#define STEPSCOPE_EXIT(name)                 \
    STEPSCOPE_EXPORT void name(int status) { \
        if (current()) {                     \
            leave_all();                     \
        }                                    \
        real::name(status);                  \
        __builtin_unreachable();             \
    }
STEPSCOPE_EXIT(exit)
STEPSCOPE_EXIT(_exit)
STEPSCOPE_EXIT(_Exit)
STEPSCOPE_EXIT(quick_exit)
#undef STEPSCOPE_EXIT
