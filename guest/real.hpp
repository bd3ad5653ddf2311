// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/**
 * The C library's own functions, found with dlsym(RTLD_NEXT). The clock library calls them for what
 * stays real, and for everything where there is no clock page.
 */
#define STEPSCOPE_REAL_FUNCTIONS(X) \
    X(clock_gettime)                \
    X(clock_getres)                 \
    X(gettimeofday)                 \
    X(time)                         \
    X(clock)                        \
    X(timespec_get)                 \
    X(nanosleep)                    \
    X(clock_nanosleep)              \
    X(usleep)                       \
    X(sleep)                        \
    X(thrd_sleep)                   \
    X(sched_yield)                  \
    X(poll)                         \
    X(ppoll)                        \
    X(select)                       \
    X(pselect)                      \
    X(epoll_wait)                   \
    X(epoll_pwait)                  \
    X(epoll_pwait2)                 \
    X(read)                         \
    X(readv)                        \
    X(recv)                         \
    X(recvfrom)                     \
    X(recvmsg)                      \
    X(accept)                       \
    X(accept4)                      \
    X(close)                        \
    X(close_range)                  \
    X(syscall)                      \
    X(pthread_create)               \
    X(pthread_join)                 \
    X(pthread_timedjoin_np)         \
    X(pthread_clockjoin_np)         \
    X(pthread_mutex_lock)           \
    X(pthread_mutex_trylock)        \
    X(pthread_mutex_timedlock)      \
    X(pthread_mutex_clocklock)      \
    X(pthread_mutex_unlock)         \
    X(pthread_rwlock_rdlock)        \
    X(pthread_rwlock_wrlock)        \
    X(pthread_rwlock_tryrdlock)     \
    X(pthread_rwlock_trywrlock)     \
    X(pthread_rwlock_timedrdlock)   \
    X(pthread_rwlock_timedwrlock)   \
    X(pthread_rwlock_clockrdlock)   \
    X(pthread_rwlock_clockwrlock)   \
    X(pthread_rwlock_unlock)        \
    X(pthread_barrier_init)         \
    X(pthread_barrier_wait)         \
    X(pthread_barrier_destroy)      \
    X(pthread_kill)                 \
    X(pthread_cancel)               \
    X(sem_init)                     \
    X(sem_wait)                     \
    X(sem_trywait)                  \
    X(sem_timedwait)                \
    X(sem_clockwait)                \
    X(sem_post)                     \
    X(thrd_create)                  \
    X(thrd_join)                    \
    X(mtx_lock)                     \
    X(mtx_timedlock)                \
    X(mtx_unlock)                   \
    X(cnd_wait)                     \
    X(cnd_timedwait)                \
    X(cnd_signal)                   \
    X(cnd_broadcast)                \
    X(timerfd_create)               \
    X(timerfd_settime)              \
    X(timerfd_gettime)              \
    X(timer_create)                 \
    X(timer_settime)                \
    X(timer_gettime)                \
    X(timer_delete)                 \
    X(timer_getoverrun)             \
    X(alarm)                        \
    X(setitimer)                    \
    X(getitimer)                    \
    X(kill)                         \
    X(raise)                        \
    X(pause)                        \
    X(sigsuspend)                   \
    X(sigwait)                      \
    X(sigwaitinfo)                  \
    X(sigtimedwait)                 \
    X(fork)                         \
    X(posix_spawn)                  \
    X(posix_spawnp)                 \
    X(system)                       \
    X(popen)                        \
    X(pclose)                       \
    X(wait)                         \
    X(waitpid)                      \
    X(waitid)                       \
    X(wait3)                        \
    X(wait4)                        \
    X(getrandom)                    \
    X(getentropy)                   \
    X(arc4random)                   \
    X(arc4random_buf)               \
    X(arc4random_uniform)           \
    X(open)                         \
    X(open64)                       \
    X(openat)                       \
    X(openat64)                     \
    X(fopen)                        \
    X(fopen64)

/** Those that glibc has in two incompatible versions. */
#define STEPSCOPE_REAL_CONDITION_FUNCTIONS(X) \
    X(pthread_cond_wait)                      \
    X(pthread_cond_timedwait)                 \
    X(pthread_cond_clockwait)                 \
    X(pthread_cond_signal)                    \
    X(pthread_cond_broadcast)

namespace stepscope::guest::real {

// NOLINTNEXTLINE(bugprone-macro-parentheses): a name
#define STEPSCOPE_DECLARE(name) extern decltype(&::name) name;
STEPSCOPE_REAL_FUNCTIONS(STEPSCOPE_DECLARE)
STEPSCOPE_REAL_CONDITION_FUNCTIONS(STEPSCOPE_DECLARE)
#undef STEPSCOPE_DECLARE

/** Finds them all; once, before anything else. */
void resolve();

/** dlsym() itself is replaced as well; this is the C library's, at any time. */
using LookUp = void* (*)(void* handle, const char* name);
LookUp look_up();

}  // namespace stepscope::guest::real
