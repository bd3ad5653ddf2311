// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sync.hpp"

#include <errno.h>

#include "local.hpp"

/**
 * Mutexes, semaphores and read-write locks stay the C library's: only a thread that would block
 * waits here instead, and whoever releases looks whether somebody does. So a waiter is counted as
 * running by the one that wakes it, before that one can wait itself.
 */
namespace stepscope::guest {

namespace {

/**
 * `attempt` is tried until it no longer says `busy`, waiting between tries for wake_waiters() on
 * the object. Returns what it said last, or ETIMEDOUT; EINTR only if `interruptible`.
 */
template <typename Attempt>
int acquire(Thread& thread, const void* object, Space space, WaitKind kind, uint64_t deadline,
            bool interruptible, Attempt attempt) {
    for (;;) {
        WaitNode node{.key = object, .space = space};
        Woken woken = Woken::signalled;
        {
            Locked locked;
            enqueue(locked, thread, node);
            const int result = attempt();
            if (result != EBUSY) {
                dequeue(locked, node);
                return result;
            }
            if (deadline <= now()) {
                dequeue(locked, node);
                return ETIMEDOUT;
            }
            woken = wait(thread, locked, &node, 1, kind, deadline);
        }
        if (woken == Woken::signalled && thread.young) {
            take_turn(thread);
        }
        if (woken == Woken::timeout) {
            const int result = attempt();
            return result == EBUSY ? ETIMEDOUT : result;
        }
        if (woken == Woken::interrupted && interruptible) {
            return EINTR;
        }
    }
}

/** For EBUSY of a lock that the caller holds itself: the real function knows the right answer. */
bool owned_by_self(const pthread_mutex_t& mutex) {
    constexpr int kKindMask = 3;  // normal, recursive, errorcheck, adaptive
    const int kind = mutex.__data.__kind & kKindMask;
    return kind == PTHREAD_MUTEX_ERRORCHECK && mutex.__data.__owner == static_cast<int>(self().tid);
}

/** Shared between processes: the waker may be one that can't see this process' queues. */
bool is_shared(const pthread_mutex_t& mutex) {
    return mutex.__data.__kind & 128;
}

int lock_mutex_until(Thread& thread, pthread_mutex_t* mutex, uint64_t deadline) {
    const int result = real::pthread_mutex_trylock(mutex);
    if (result != EBUSY) {
        return result;
    }
    if (owned_by_self(*mutex)) {
        return EDEADLK;
    }
    return acquire(thread, mutex, Space::mutex, WaitKind::mutex, deadline, false,
                   [&] { return real::pthread_mutex_trylock(mutex); });
}

int wait_semaphore_until(Thread& thread, sem_t* semaphore, uint64_t deadline) {
    const auto attempt = [&] { return real::sem_trywait(semaphore) == 0 ? 0 : EBUSY; };
    ::pthread_testcancel();
    int result = attempt();
    if (result == EBUSY) {
        result = acquire(thread, semaphore, Space::semaphore, WaitKind::semaphore, deadline, true,
                         attempt);
    }
    if (result == EINTR) {
        ::pthread_testcancel();
    }
    if (result != 0) {
        errno = result;
        return -1;
    }
    return 0;
}

int read_lock_until(Thread& thread, pthread_rwlock_t* lock, uint64_t deadline) {
    const auto attempt = [&] { return real::pthread_rwlock_tryrdlock(lock); };
    const int result = attempt();
    return result != EBUSY
               ? result
               : acquire(thread, lock, Space::rwlock, WaitKind::rwlock, deadline, false, attempt);
}

int write_lock_until(Thread& thread, pthread_rwlock_t* lock, uint64_t deadline) {
    const auto attempt = [&] { return real::pthread_rwlock_trywrlock(lock); };
    const int result = attempt();
    if (result != EBUSY) {
        return result;
    }
    if (lock->__data.__cur_writer == static_cast<int>(thread.tid)) {
        return EDEADLK;
    }
    return acquire(thread, lock, Space::rwlock, WaitKind::rwlock, deadline, false, attempt);
}

void wake_all(const void* object, Space space, uint32_t count) {
    if (may_have_waiters(object, space)) {
        Locked locked;
        wake_waiters(locked, object, space, count);
    }
}

bool is_shared_semaphore(const sem_t* semaphore) {
    // struct new_sem: value and waiters in 8 bytes, then `private`: 0, or FUTEX_PRIVATE's
    // complement where shared. On i386 the waiters come last.
#if defined(__i386__)
    constexpr int kPrivate = 1;
#else
    constexpr int kPrivate = 2;
#endif
    return reinterpret_cast<const int*>(semaphore)[kPrivate] != 0;
}

/** Waits for a wake that may come from another process: as for anything outside. */
template <typename Function>
auto externally(Thread& thread, WaitKind kind, Function function) {
    enter_external(thread, kind, kNever);
    const auto result = function();
    leave_external(thread);
    return result;
}

}  // namespace

int lock_mutex(Thread& thread, pthread_mutex_t* mutex) {
    if (is_shared(*mutex)) {
        const int result = real::pthread_mutex_trylock(mutex);
        return result != EBUSY ? result : externally(thread, WaitKind::mutex, [&] {
            return real::pthread_mutex_lock(mutex);
        });
    }
    return lock_mutex_until(thread, mutex, kNever);
}

int unlock_mutex(pthread_mutex_t* mutex) {
    const int result = real::pthread_mutex_unlock(mutex);
    if (result == 0) {
        wake_all(mutex, Space::mutex, 1);
    }
    return result;
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int pthread_mutex_lock(pthread_mutex_t* mutex) {
    Thread* thread = current();
    return thread ? lock_mutex(*thread, mutex) : real::pthread_mutex_lock(mutex);
}

STEPSCOPE_EXPORT int pthread_mutex_unlock(pthread_mutex_t* mutex) {
    // Also from a thread whose registration has ended: others may wait for it.
    current();
    return process.page ? unlock_mutex(mutex) : real::pthread_mutex_unlock(mutex);
}

STEPSCOPE_EXPORT int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::pthread_mutex_timedlock(mutex, time);
    }
    return lock_mutex_until(*thread, mutex, deadline_at(CLOCK_REALTIME, *time));
}

STEPSCOPE_EXPORT int pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock,
                                             const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::pthread_mutex_clocklock(mutex, clock, time);
    }
    return lock_mutex_until(*thread, mutex, deadline_at(clock, *time));
}

STEPSCOPE_EXPORT int sem_wait(sem_t* semaphore) {
    Thread* thread = current();
    if (!thread) {
        return real::sem_wait(semaphore);
    }
    if (is_shared_semaphore(semaphore)) {
        return real::sem_trywait(semaphore) == 0 ? 0
                                                 : externally(*thread, WaitKind::semaphore, [&] {
                                                       return real::sem_wait(semaphore);
                                                   });
    }
    return wait_semaphore_until(*thread, semaphore, kNever);
}

STEPSCOPE_EXPORT int sem_timedwait(sem_t* semaphore, const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::sem_timedwait(semaphore, time);
    }
    return wait_semaphore_until(*thread, semaphore, deadline_at(CLOCK_REALTIME, *time));
}

STEPSCOPE_EXPORT int sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::sem_clockwait(semaphore, clock, time);
    }
    return wait_semaphore_until(*thread, semaphore, deadline_at(clock, *time));
}

STEPSCOPE_EXPORT int sem_post(sem_t* semaphore) {
    current();
    const int result = real::sem_post(semaphore);
    if (result == 0 && process.page) {
        wake_all(semaphore, Space::semaphore, 1);
    }
    return result;
}

STEPSCOPE_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
    Thread* thread = current();
    return thread ? read_lock_until(*thread, lock, kNever) : real::pthread_rwlock_rdlock(lock);
}

STEPSCOPE_EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
    Thread* thread = current();
    return thread ? write_lock_until(*thread, lock, kNever) : real::pthread_rwlock_wrlock(lock);
}

STEPSCOPE_EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t* lock, const timespec* time) {
    Thread* thread = current();
    return thread ? read_lock_until(*thread, lock, deadline_at(CLOCK_REALTIME, *time))
                  : real::pthread_rwlock_timedrdlock(lock, time);
}

STEPSCOPE_EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t* lock, const timespec* time) {
    Thread* thread = current();
    return thread ? write_lock_until(*thread, lock, deadline_at(CLOCK_REALTIME, *time))
                  : real::pthread_rwlock_timedwrlock(lock, time);
}

STEPSCOPE_EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t* lock, clockid_t clock,
                                                const timespec* time) {
    Thread* thread = current();
    return thread ? read_lock_until(*thread, lock, deadline_at(clock, *time))
                  : real::pthread_rwlock_clockrdlock(lock, clock, time);
}

STEPSCOPE_EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t* lock, clockid_t clock,
                                                const timespec* time) {
    Thread* thread = current();
    return thread ? write_lock_until(*thread, lock, deadline_at(clock, *time))
                  : real::pthread_rwlock_clockwrlock(lock, clock, time);
}

STEPSCOPE_EXPORT int pthread_rwlock_unlock(pthread_rwlock_t* lock) {
    current();
    const int result = real::pthread_rwlock_unlock(lock);
    if (result == 0 && process.page) {
        wake_all(lock, Space::rwlock, UINT32_MAX);
    }
    return result;
}

STEPSCOPE_EXPORT int mtx_lock(mtx_t* mutex) {
    Thread* thread = current();
    if (!thread) {
        return real::mtx_lock(mutex);
    }
    return lock_mutex(*thread, reinterpret_cast<pthread_mutex_t*>(mutex)) == 0 ? thrd_success
                                                                               : thrd_error;
}

STEPSCOPE_EXPORT int mtx_timedlock(mtx_t* mutex, const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::mtx_timedlock(mutex, time);
    }
    const int error = lock_mutex_until(*thread, reinterpret_cast<pthread_mutex_t*>(mutex),
                                       deadline_at(CLOCK_REALTIME, *time));
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

STEPSCOPE_EXPORT int mtx_unlock(mtx_t* mutex) {
    current();
    if (!process.page) {
        return real::mtx_unlock(mutex);
    }
    return unlock_mutex(reinterpret_cast<pthread_mutex_t*>(mutex)) == 0 ? thrd_success : thrd_error;
}
