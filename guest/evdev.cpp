// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <linux/input.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "local.hpp"

/** Gamepads and other input devices: the kernel stamps their events with real time. */
namespace stepscope::guest {

namespace {

constexpr unsigned kInputMajor = 13;

bool is_event_device(int fd) {
    struct stat status;
    int version = 0;
    return ::fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) &&
           major(status.st_rdev) == kInputMajor && ::ioctl(fd, EVIOCGVERSION, &version) == 0;
}

int64_t distance(clockid_t clock, const input_event& event) {
    timespec now{};
    real::clock_gettime(clock, &now);
    const int64_t seconds = now.tv_sec - event.input_event_sec;
    return seconds < 0 ? -seconds : seconds;
}

}  // namespace

void restamp_events(int fd, void* buffer, size_t size) {
    if (size == 0 || size % sizeof(input_event) != 0) {
        return;
    }
    const int saved_errno = errno;
    if (is_event_device(fd)) {
        auto* events = static_cast<input_event*>(buffer);
        // Each reader chooses its clock (EVIOCSCLOCKID) and can't be asked for it. They are decades
        // apart.
        const clockid_t clock =
            distance(CLOCK_REALTIME, *events) < distance(CLOCK_MONOTONIC, *events)
                ? CLOCK_REALTIME
                : CLOCK_MONOTONIC;
        const timespec now = clock_value(clock);
        for (size_t i = 0; i < size / sizeof(input_event); ++i) {
            events[i].input_event_sec = now.tv_sec;
            events[i].input_event_usec = now.tv_nsec / 1000;
        }
    }
    errno = saved_errno;
}

}  // namespace stepscope::guest
