// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/resource.h>
#include <sys/times.h>

#include "local.hpp"

/** Reading the clock, and sleeping. */
namespace stepscope::guest {

namespace {

constexpr int64_t kNsPerS = 1'000'000'000;

int64_t to_ns(const timespec& time) {
    if (time.tv_sec > INT64_MAX / kNsPerS - 1) {
        return INT64_MAX;
    }
    return time.tv_sec * kNsPerS + time.tv_nsec;
}

/** Whether the clock is one that the page stands for. */
bool is_virtual(clockid_t clock) {
    switch (clock) {
        case CLOCK_REALTIME:
        case CLOCK_REALTIME_COARSE:
        case CLOCK_REALTIME_ALARM:
        case CLOCK_TAI:
        case CLOCK_MONOTONIC:
        case CLOCK_MONOTONIC_RAW:
        case CLOCK_MONOTONIC_COARSE:
        case CLOCK_BOOTTIME:
        case CLOCK_BOOTTIME_ALARM:
        case CLOCK_PROCESS_CPUTIME_ID:
        case CLOCK_THREAD_CPUTIME_ID:
            return true;
        default:
            return false;
    }
}

/** Sleeps; 0, or EINTR with the rest. */
int sleep_for(Thread& thread, clockid_t clock, int flags, const timespec& time, timespec* rest) {
    ::pthread_testcancel();
    const bool absolute = flags & TIMER_ABSTIME;
    const uint64_t deadline = absolute ? deadline_at(clock, time) : deadline_after(time);
    if (sleep_until(thread, deadline) != Woken::interrupted) {
        return 0;
    }
    ::pthread_testcancel();
    if (!absolute && rest) {
        const uint64_t reached = now();
        *rest = to_timespec(deadline > reached ? deadline - reached : 0);
    }
    return EINTR;
}

}  // namespace

int64_t clock_base(clockid_t clock) {
    switch (clock) {
        case CLOCK_REALTIME:
        case CLOCK_REALTIME_COARSE:
        case CLOCK_REALTIME_ALARM:
        case CLOCK_TAI:
            return process.page->realtime_base_ns;
        case CLOCK_PROCESS_CPUTIME_ID:
        case CLOCK_THREAD_CPUTIME_ID:
            return 0;
        default:
            return process.page->monotonic_base_ns;
    }
}

timespec to_timespec(uint64_t ns) {
    return {static_cast<time_t>(ns / kNsPerS), static_cast<long>(ns % kNsPerS)};
}

uint64_t deadline_after(uint64_t delay_ns) {
    const uint64_t start = now();
    return delay_ns >= kNever - start ? kNever - 1 : start + delay_ns;
}

uint64_t deadline_after(const timespec& delay) {
    const int64_t ns = to_ns(delay);
    return deadline_after(ns > 0 ? static_cast<uint64_t>(ns) : uint64_t{0});
}

uint64_t deadline_at(clockid_t clock, const timespec& time) {
    const int64_t ns = time.tv_sec < 0 ? 0 : to_ns(time);
    const int64_t base = clock_base(clock);
    return ns > base ? static_cast<uint64_t>(ns - base) : 0;
}

timespec clock_value(clockid_t clock) {
    return to_timespec(now() + static_cast<uint64_t>(clock_base(clock)));
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int clock_gettime(clockid_t clock, timespec* time) {
    Thread* thread = current();
    if (!thread || !is_virtual(clock)) {
        if (process.page && is_virtual(clock)) {
            *time = clock_value(clock);
            return 0;
        }
        return real::clock_gettime(clock, time);
    }
    looked_at_clock(*thread);
    *time = clock_value(clock);
    return 0;
}

STEPSCOPE_EXPORT int clock_getres(clockid_t clock, timespec* resolution) {
    if (!current() || !is_virtual(clock)) {
        return real::clock_getres(clock, resolution);
    }
    if (resolution) {
        *resolution = {0, 1};
    }
    return 0;
}

STEPSCOPE_EXPORT int gettimeofday(timeval* time, void* zone) {
    Thread* thread = current();
    if (!thread) {
        return real::gettimeofday(time, zone);
    }
    looked_at_clock(*thread);
    const timespec value = clock_value(CLOCK_REALTIME);
    *time = {value.tv_sec, value.tv_nsec / 1000};
    if (zone) {
        *static_cast<struct timezone*>(zone) = {0, 0};
    }
    return 0;
}

STEPSCOPE_EXPORT time_t time(time_t* result) {
    Thread* thread = current();
    if (!thread) {
        return real::time(result);
    }
    looked_at_clock(*thread);
    const time_t value = clock_value(CLOCK_REALTIME).tv_sec;
    if (result) {
        *result = value;
    }
    return value;
}

STEPSCOPE_EXPORT clock_t clock() {
    Thread* thread = current();
    if (!thread) {
        return real::clock();
    }
    looked_at_clock(*thread);
    return static_cast<clock_t>(now() / (1'000'000'000 / CLOCKS_PER_SEC));
}

STEPSCOPE_EXPORT clock_t times(tms* used) {
    Thread* thread = current();
    if (!thread) {
        return real::times(used);
    }
    looked_at_clock(*thread);
    constexpr uint64_t kTickNs = kNsPerS / 100;  // for programs a tick is 10 ms on every kernel
    if (used) {
        *used = {static_cast<clock_t>(now() / kTickNs), 0, 0, 0};
    }
    return static_cast<clock_t>(to_ns(clock_value(CLOCK_MONOTONIC)) / int64_t{kTickNs});
}

STEPSCOPE_EXPORT int getrusage(__rusage_who_t who, rusage* usage) {
    const int result = real::getrusage(who, usage);
    Thread* thread = current();
    if (result == 0 && thread && who != RUSAGE_CHILDREN) {
        looked_at_clock(*thread);
        const timespec used = clock_value(CLOCK_PROCESS_CPUTIME_ID);
        usage->ru_utime = {used.tv_sec, used.tv_nsec / 1000};
        usage->ru_stime = {0, 0};
    }
    return result;
}

STEPSCOPE_EXPORT int timespec_get(timespec* time, int base) {
    Thread* thread = current();
    if (!thread || base != TIME_UTC) {
        return real::timespec_get(time, base);
    }
    looked_at_clock(*thread);
    *time = clock_value(CLOCK_REALTIME);
    return base;
}

STEPSCOPE_EXPORT int clock_nanosleep(clockid_t clock, int flags, const timespec* time,
                                     timespec* rest) {
    Thread* thread = current();
    if (!thread || !is_virtual(clock)) {
        return real::clock_nanosleep(clock, flags, time, rest);
    }
    return valid(*time) ? sleep_for(*thread, clock, flags, *time, rest) : EINVAL;
}

STEPSCOPE_EXPORT int nanosleep(const timespec* time, timespec* rest) {
    Thread* thread = current();
    if (!thread) {
        return real::nanosleep(time, rest);
    }
    const int error = valid(*time) ? sleep_for(*thread, CLOCK_MONOTONIC, 0, *time, rest) : EINVAL;
    if (error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}

STEPSCOPE_EXPORT int thrd_sleep(const timespec* time, timespec* rest) {
    Thread* thread = current();
    if (!thread) {
        return real::thrd_sleep(time, rest);
    }
    if (!valid(*time)) {
        return -2;
    }
    return sleep_for(*thread, CLOCK_MONOTONIC, 0, *time, rest) == 0 ? 0 : -1;
}

STEPSCOPE_EXPORT int usleep(useconds_t microseconds) {
    if (!current()) {
        return real::usleep(microseconds);
    }
    const timespec time = to_timespec(uint64_t{microseconds} * 1000);
    return ::nanosleep(&time, nullptr);
}

STEPSCOPE_EXPORT unsigned sleep(unsigned seconds) {
    if (!current()) {
        return real::sleep(seconds);
    }
    const timespec time = to_timespec(uint64_t{seconds} * 1'000'000'000);
    timespec rest{};
    if (::nanosleep(&time, &rest) == 0) {
        return 0;
    }
    return static_cast<unsigned>(rest.tv_sec + (rest.tv_nsec > 0));
}

STEPSCOPE_EXPORT int sched_yield() {
    if (Thread* thread = current()) {
        looked_at_clock(*thread);
    }
    return real::sched_yield();
}
