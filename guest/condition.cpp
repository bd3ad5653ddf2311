// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "local.hpp"
#include "sync.hpp"

/**
 * Condition variables and barriers are the library's own altogether, as queues in arrival order:
 * every function that touches one is replaced. Only the clock that a condition variable was
 * initialised with is read from the C library's object. Those shared between processes remain
 * the C library's.
 */
namespace stepscope::guest {

namespace {

bool is_shared(const pthread_cond_t& condition) {
    return condition.__data.__wrefs & 1;
}

clockid_t clock_of(const pthread_cond_t& condition) {
    return condition.__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

template <typename Function>
int wait_shared(Thread& thread, Function function) {
    enter_external(thread, WaitKind::condition, kNever);
    const int result = function();
    leave_external(thread);
    return result;
}

/** In the memory of a pthread_barrier_t. */
struct Barrier {
    uint32_t magic;
    uint32_t count;
    uint32_t arrived;
    uint32_t generation;
};
static_assert(sizeof(Barrier) <= sizeof(pthread_barrier_t));

constexpr uint32_t kBarrierMagic = 0x73746270;

}  // namespace

int wait_for_condition(Thread& thread, const void* condition, pthread_mutex_t* mutex,
                       uint64_t deadline) {
    ::pthread_testcancel();
    WaitNode node{.key = condition, .space = Space::condition};
    {
        Locked locked;
        enqueue(locked, thread, node);
    }
    if (const int error = unlock_mutex(mutex); error != 0) {
        Locked locked;
        dequeue(locked, node);
        return error;
    }
    Woken woken = Woken::timeout;
    {
        Locked locked;
        if (deadline > now() || node.signalled) {
            woken = wait(thread, locked, &node, 1, WaitKind::condition, deadline);
        } else {
            dequeue(locked, node);
        }
    }
    const int error = lock_mutex(thread, mutex);
    if (woken == Woken::interrupted) {
        ::pthread_testcancel();
    }
    return error != 0 ? error : woken == Woken::timeout ? ETIMEDOUT : 0;
}

int signal_condition(const void* condition, uint32_t count) {
    if (may_have_waiters(condition, Space::condition)) {
        Locked locked;
        wake_waiters(locked, condition, Space::condition, count);
    }
    return 0;
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
    Thread* thread = current();
    if (!thread) {
        return real::pthread_cond_wait(condition, mutex);
    }
    if (is_shared(*condition)) {
        return wait_shared(*thread, [&] { return real::pthread_cond_wait(condition, mutex); });
    }
    return wait_for_condition(*thread, condition, mutex, kNever);
}

STEPSCOPE_EXPORT int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                            const timespec* time) {
    Thread* thread = current();
    if (!thread || is_shared(*condition)) {
        return real::pthread_cond_timedwait(condition, mutex, time);
    }
    if (!valid(*time) && time->tv_sec >= 0) {
        return EINVAL;
    }
    return wait_for_condition(*thread, condition, mutex, deadline_at(clock_of(*condition), *time));
}

STEPSCOPE_EXPORT int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                            clockid_t clock, const timespec* time) {
    Thread* thread = current();
    if (!thread || is_shared(*condition)) {
        return real::pthread_cond_clockwait(condition, mutex, clock, time);
    }
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) {
        return EINVAL;
    }
    return wait_for_condition(*thread, condition, mutex, deadline_at(clock, *time));
}

STEPSCOPE_EXPORT int pthread_cond_signal(pthread_cond_t* condition) {
    current();
    return process.page && !is_shared(*condition) ? signal_condition(condition, 1)
                                                  : real::pthread_cond_signal(condition);
}

STEPSCOPE_EXPORT int pthread_cond_broadcast(pthread_cond_t* condition) {
    current();
    return process.page && !is_shared(*condition) ? signal_condition(condition, UINT32_MAX)
                                                  : real::pthread_cond_broadcast(condition);
}

STEPSCOPE_EXPORT int cnd_wait(cnd_t* condition, mtx_t* mutex) {
    if (!current()) {
        return real::cnd_wait(condition, mutex);
    }
    return ::pthread_cond_wait(reinterpret_cast<pthread_cond_t*>(condition),
                               reinterpret_cast<pthread_mutex_t*>(mutex)) == 0
               ? thrd_success
               : thrd_error;
}

STEPSCOPE_EXPORT int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* time) {
    if (!current()) {
        return real::cnd_timedwait(condition, mutex, time);
    }
    const int error = ::pthread_cond_timedwait(reinterpret_cast<pthread_cond_t*>(condition),
                                               reinterpret_cast<pthread_mutex_t*>(mutex), time);
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

STEPSCOPE_EXPORT int cnd_signal(cnd_t* condition) {
    current();
    return process.page ? signal_condition(reinterpret_cast<pthread_cond_t*>(condition), 1)
                        : real::cnd_signal(condition);
}

STEPSCOPE_EXPORT int cnd_broadcast(cnd_t* condition) {
    current();
    return process.page ? signal_condition(reinterpret_cast<pthread_cond_t*>(condition), UINT32_MAX)
                        : real::cnd_broadcast(condition);
}

STEPSCOPE_EXPORT int pthread_barrier_init(pthread_barrier_t* barrier,
                                          const pthread_barrierattr_t* attributes, unsigned count) {
    int shared = PTHREAD_PROCESS_PRIVATE;
    if (attributes) {
        ::pthread_barrierattr_getpshared(attributes, &shared);
    }
    if (!current() || shared != PTHREAD_PROCESS_PRIVATE || count == 0) {
        return real::pthread_barrier_init(barrier, attributes, count);
    }
    *reinterpret_cast<Barrier*>(barrier) = {kBarrierMagic, count, 0, 0};
    return 0;
}

STEPSCOPE_EXPORT int pthread_barrier_wait(pthread_barrier_t* raw) {
    Thread* thread = current();
    auto* barrier = reinterpret_cast<Barrier*>(raw);
    if (!thread || barrier->magic != kBarrierMagic) {
        return real::pthread_barrier_wait(raw);
    }
    uint32_t generation = 0;
    {
        Locked locked;
        if (++barrier->arrived == barrier->count) {
            barrier->arrived = 0;
            ++barrier->generation;
            wake_waiters(locked, barrier, Space::barrier, UINT32_MAX);
            return PTHREAD_BARRIER_SERIAL_THREAD;
        }
        generation = barrier->generation;
    }
    // More than once only if a signal handler ran in between.
    for (;;) {
        WaitNode node{.key = barrier, .space = Space::barrier};
        Locked locked;
        if (barrier->generation != generation) {
            break;
        }
        enqueue(locked, *thread, node);
        wait(*thread, locked, &node, 1, WaitKind::barrier, kNever);
    }
    return 0;
}

STEPSCOPE_EXPORT int pthread_barrier_destroy(pthread_barrier_t* raw) {
    auto* barrier = reinterpret_cast<Barrier*>(raw);
    if (!current() || barrier->magic != kBarrierMagic) {
        return real::pthread_barrier_destroy(raw);
    }
    barrier->magic = 0;
    return 0;
}
