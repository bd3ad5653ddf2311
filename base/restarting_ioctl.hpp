// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

namespace stepscope {

/** ioctl(2), repeated while a signal interrupts it or the driver asks for it. */
inline int restarting_ioctl(int fd, unsigned long request, void* argument) {
    int result = 0;
    do {
        result = ::ioctl(fd, request, argument);
    } while (result < 0 && (errno == EINTR || errno == EAGAIN));
    return result;
}

}  // namespace stepscope
