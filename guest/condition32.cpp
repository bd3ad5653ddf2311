// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dlfcn.h>
#include <errno.h>

#include "local.hpp"
#include "sync.hpp"
#include "time32.hpp"

/**
 * Condition variables of 32-bit programs that were linked before glibc 2.3.2: three words, of
 * which nothing is to be read. They have functions of their own, of the same names in an older
 * version.
 */
namespace stepscope::guest {

namespace {

struct OldCondition;

/** The C library's, for where there is no clock. */
template <typename Function>
Function old_function(const char* name) {
    return reinterpret_cast<Function>(::dlvsym(RTLD_NEXT, name, "GLIBC_2.0"));
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

#define STEPSCOPE_EXPORT_OLD(name, parameters)                        \
    __asm__(".symver old_" #name ", " #name "@GLIBC_2.0");            \
    STEPSCOPE_EXPORT __attribute__((used)) int old_##name parameters; \
    int old_##name parameters

STEPSCOPE_EXPORT_OLD(pthread_cond_wait, (OldCondition * condition, pthread_mutex_t* mutex)) {
    Thread* thread = current();
    return thread ? wait_for_condition(*thread, condition, mutex, kNever)
                  : old_function<decltype(&old_pthread_cond_wait)>("pthread_cond_wait")(condition,
                                                                                        mutex);
}

STEPSCOPE_EXPORT_OLD(pthread_cond_timedwait,
                     (OldCondition * condition, pthread_mutex_t* mutex, const Timespec32* time)) {
    Thread* thread = current();
    if (!thread) {
        return old_function<decltype(&old_pthread_cond_timedwait)>("pthread_cond_timedwait")(
            condition, mutex, time);
    }
    const timespec end = widen(*time);
    return valid(end)
               ? wait_for_condition(*thread, condition, mutex, deadline_at(CLOCK_REALTIME, end))
               : EINVAL;
}

STEPSCOPE_EXPORT_OLD(pthread_cond_signal, (OldCondition * condition)) {
    current();
    return process.page
               ? signal_condition(condition, 1)
               : old_function<decltype(&old_pthread_cond_signal)>("pthread_cond_signal")(condition);
}

STEPSCOPE_EXPORT_OLD(pthread_cond_broadcast, (OldCondition * condition)) {
    current();
    return process.page ? signal_condition(condition, UINT32_MAX)
                        : old_function<decltype(&old_pthread_cond_broadcast)>(
                              "pthread_cond_broadcast")(condition);
}
