// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <fcntl.h>
#include <mqueue.h>
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
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
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
    X(clock)                        \
    X(usleep)                       \
    X(sleep)                        \
    X(sched_yield)                  \
    X(poll)                         \
    X(epoll_ctl)                    \
    X(epoll_wait)                   \
    X(epoll_pwait)                  \
    X(read)                         \
    X(readv)                        \
    X(write)                        \
    X(writev)                       \
    X(send)                         \
    X(sendto)                       \
    X(recv)                         \
    X(recvfrom)                     \
    X(accept)                       \
    X(accept4)                      \
    X(close)                        \
    X(connect)                      \
    X(shutdown)                     \
    X(dup2)                         \
    X(dup3)                         \
    X(exit)                         \
    X(_exit)                        \
    X(_Exit)                        \
    X(quick_exit)                   \
    X(close_range)                  \
    X(syscall)                      \
    X(pthread_create)               \
    X(pthread_join)                 \
    X(pthread_mutex_lock)           \
    X(pthread_mutex_trylock)        \
    X(pthread_mutex_unlock)         \
    X(pthread_rwlock_rdlock)        \
    X(pthread_rwlock_wrlock)        \
    X(pthread_rwlock_tryrdlock)     \
    X(pthread_rwlock_trywrlock)     \
    X(pthread_rwlock_unlock)        \
    X(pthread_barrier_init)         \
    X(pthread_barrier_wait)         \
    X(pthread_barrier_destroy)      \
    X(pthread_kill)                 \
    X(pthread_cancel)               \
    X(sem_init)                     \
    X(sem_wait)                     \
    X(sem_trywait)                  \
    X(sem_post)                     \
    X(thrd_create)                  \
    X(thrd_join)                    \
    X(mtx_lock)                     \
    X(mtx_unlock)                   \
    X(cnd_wait)                     \
    X(cnd_signal)                   \
    X(cnd_broadcast)                \
    X(timerfd_create)               \
    X(timer_create)                 \
    X(timer_delete)                 \
    X(timer_getoverrun)             \
    X(alarm)                        \
    X(ualarm)                       \
    X(mq_receive)                   \
    X(mq_send)                      \
    X(times)                        \
    X(kill)                         \
    X(raise)                        \
    X(pause)                        \
    X(sigsuspend)                   \
    X(sigwait)                      \
    X(sigwaitinfo)                  \
    X(fork)                         \
    X(posix_spawn)                  \
    X(posix_spawnp)                 \
    X(system)                       \
    X(popen)                        \
    X(pclose)                       \
    X(wait)                         \
    X(waitpid)                      \
    X(waitid)                       \
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

/** Those that take or give a time. 32-bit programs have each under two names, and the headers make
 * the first mean the second where times have 64 bits, as they do in this library. */
#define STEPSCOPE_REAL_TIME_FUNCTIONS(X)                          \
    X(clock_gettime, __clock_gettime64)                           \
    X(clock_getres, __clock_getres64)                             \
    X(gettimeofday, __gettimeofday64)                             \
    X(time, __time64)                                             \
    X(timespec_get, __timespec_get64)                             \
    X(nanosleep, __nanosleep64)                                   \
    X(clock_nanosleep, __clock_nanosleep_time64)                  \
    X(thrd_sleep, __thrd_sleep64)                                 \
    X(ppoll, __ppoll64)                                           \
    X(select, __select64)                                         \
    X(pselect, __pselect64)                                       \
    X(epoll_pwait2, __epoll_pwait2_time64)                        \
    X(recvmsg, __recvmsg64)                                       \
    X(sendmsg, __sendmsg64)                                       \
    X(pthread_timedjoin_np, __pthread_timedjoin_np64)             \
    X(pthread_clockjoin_np, __pthread_clockjoin_np64)             \
    X(pthread_mutex_timedlock, __pthread_mutex_timedlock64)       \
    X(pthread_mutex_clocklock, __pthread_mutex_clocklock64)       \
    X(pthread_rwlock_timedrdlock, __pthread_rwlock_timedrdlock64) \
    X(pthread_rwlock_timedwrlock, __pthread_rwlock_timedwrlock64) \
    X(pthread_rwlock_clockrdlock, __pthread_rwlock_clockrdlock64) \
    X(pthread_rwlock_clockwrlock, __pthread_rwlock_clockwrlock64) \
    X(sem_timedwait, __sem_timedwait64)                           \
    X(sem_clockwait, __sem_clockwait64)                           \
    X(mtx_timedlock, __mtx_timedlock64)                           \
    X(cnd_timedwait, __cnd_timedwait64)                           \
    X(timerfd_settime, __timerfd_settime64)                       \
    X(timerfd_gettime, __timerfd_gettime64)                       \
    X(timer_settime, __timer_settime64)                           \
    X(timer_gettime, __timer_gettime64)                           \
    X(setitimer, __setitimer64)                                   \
    X(getitimer, __getitimer64)                                   \
    X(sigtimedwait, __sigtimedwait64)                             \
    X(mq_timedreceive, __mq_timedreceive_time64)                  \
    X(mq_timedsend, __mq_timedsend_time64)                        \
    X(getrusage, __getrusage64)                                   \
    X(wait3, __wait3_time64)                                      \
    X(wait4, __wait4_time64)

/** Those that glibc has in two incompatible versions. */
#define STEPSCOPE_REAL_CONDITION_FUNCTIONS(X)             \
    X(pthread_cond_wait, pthread_cond_wait)               \
    X(pthread_cond_timedwait, __pthread_cond_timedwait64) \
    X(pthread_cond_clockwait, __pthread_cond_clockwait64) \
    X(pthread_cond_signal, pthread_cond_signal)           \
    X(pthread_cond_broadcast, pthread_cond_broadcast)

namespace stepscope::guest::real {

// NOLINTNEXTLINE(bugprone-macro-parentheses): a name
#define STEPSCOPE_DECLARE(name, ...) extern decltype(&::name) name;
STEPSCOPE_REAL_FUNCTIONS(STEPSCOPE_DECLARE)
STEPSCOPE_REAL_TIME_FUNCTIONS(STEPSCOPE_DECLARE)
STEPSCOPE_REAL_CONDITION_FUNCTIONS(STEPSCOPE_DECLARE)
#undef STEPSCOPE_DECLARE

/** Finds them all; once, before anything else. */
void resolve();

/** dlsym() itself is replaced as well; this is the C library's, at any time. */
using LookUp = void* (*)(void* handle, const char* name);
LookUp look_up();

}  // namespace stepscope::guest::real
