// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "local.hpp"

/** Writes that block until somebody reads: to a pipe or socket that is full, or gets full. */
namespace stepscope::guest {

namespace {

bool is_limited(int fd) {
    struct stat about{};
    return ::fstat(fd, &about) == 0 && (S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode));
}

/** Whether a blocking write may have to wait. Up to PIPE_BUF bytes find room where poll says so. */
bool may_wait(int fd, size_t size) {
    const int saved_errno = errno;
    constexpr timespec kAtOnce{};
    pollfd one{fd, POLLOUT, 0};
    const bool has_room = real::ppoll(&one, 1, &kAtOnce, nullptr) != 0;
    bool waits = !has_room || size > PIPE_BUF;
    if (waits) {
        const long flags = raw_syscall(SYS_fcntl, fd, F_GETFL);
        waits = flags >= 0 && !(flags & O_NONBLOCK) && (!has_room || is_limited(fd));
    }
    errno = saved_errno;
    return waits;
}

/** Who reads may be waiting for time, or for its turn: neither comes while the writer counts as
 * running. */
template <typename Write>
ssize_t write_through(int fd, size_t size, bool blocks, Write write) {
    Thread* thread = current();
    if (!thread || !blocks || !may_wait(fd, size)) {
        return write();
    }
    enter_external(*thread, WaitKind::descriptors, kNever);
    const ssize_t written = write();
    leave_external(*thread);
    return written;
}

size_t size_of(const iovec* parts, size_t count) {
    size_t size = 0;
    for (size_t i = 0; i < count; ++i) {
        size += parts[i].iov_len;
    }
    return size;
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT ssize_t write(int fd, const void* buffer, size_t size) {
    return write_through(fd, size, true, [&] { return real::write(fd, buffer, size); });
}

STEPSCOPE_EXPORT ssize_t writev(int fd, const iovec* parts, int count) {
    const size_t size = count > 0 ? size_of(parts, static_cast<size_t>(count)) : 0;
    return write_through(fd, size, true, [&] { return real::writev(fd, parts, count); });
}

STEPSCOPE_EXPORT ssize_t send(int fd, const void* buffer, size_t size, int flags) {
    return write_through(fd, size, !(flags & MSG_DONTWAIT),
                         [&] { return real::send(fd, buffer, size, flags); });
}

STEPSCOPE_EXPORT ssize_t sendto(int fd, const void* buffer, size_t size, int flags,
                                const sockaddr* address, socklen_t length) {
    return write_through(fd, size, !(flags & MSG_DONTWAIT),
                         [&] { return real::sendto(fd, buffer, size, flags, address, length); });
}

STEPSCOPE_EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
    const size_t size = message ? size_of(message->msg_iov, message->msg_iovlen) : 0;
    return write_through(fd, size, !(flags & MSG_DONTWAIT),
                         [&] { return real::sendmsg(fd, message, flags); });
}
