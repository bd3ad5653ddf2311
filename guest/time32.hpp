// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#if defined(__i386__)

#include <stdint.h>
#include <time.h>

/** Times of 32 bits, as 32-bit programs have them unless they were built with _TIME_BITS=64. */
namespace stepscope::guest {

struct Timespec32 {
    int32_t tv_sec;
    int32_t tv_nsec;
};

struct Timeval32 {
    int32_t tv_sec;
    int32_t tv_usec;
};

inline timespec widen(const Timespec32& time) {
    return {time.tv_sec, time.tv_nsec};
}

/** For syscall(): the calls for clocks and sleeps, of both kinds. False if it is none of them. */
bool make_timed_call(long number, const long (&arguments)[6], long& result);

}  // namespace stepscope::guest

#endif
