// SPDX-License-Identifier: LGPL-2.1-or-later
#include "time32.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "local.hpp"

/**
 * 32-bit programs have two functions for everything that takes or gives a time. Those with 64 bits
 * (__clock_gettime64 and so on) are what the rest of the library defines: the headers rename them.
 * Here are those under the plain names, which most programs were built for.
 */
namespace stepscope::guest {

namespace {

struct Itimerspec32 {
    Timespec32 it_interval;
    Timespec32 it_value;
};

struct Itimerval32 {
    Timeval32 it_interval;
    Timeval32 it_value;
};

struct Rusage32 {
    Timeval32 user;
    Timeval32 system;
    long others[14];
};
static_assert(sizeof(rusage) == 2 * sizeof(timeval) + sizeof Rusage32::others);

/** An argument that may be missing. */
struct Widened {
    explicit Widened(const Timespec32* time) : pointer(time ? &value : nullptr) {
        if (time) {
            value = widen(*time);
        }
    }
    Widened(const Widened&) = delete;
    Widened& operator=(const Widened&) = delete;

    timespec value{};
    const timespec* pointer;
};

itimerspec widen(const Itimerspec32& timer) {
    return {widen(timer.it_interval), widen(timer.it_value)};
}

bool fits(time_t seconds) {
    return seconds == static_cast<int32_t>(seconds);
}

Timespec32 narrow(const timespec& time) {
    return {static_cast<int32_t>(time.tv_sec), static_cast<int32_t>(time.tv_nsec)};
}

Timeval32 narrow(const timeval& time) {
    return {static_cast<int32_t>(time.tv_sec), static_cast<int32_t>(time.tv_usec)};
}

Rusage32 narrow(const rusage& usage) {
    Rusage32 result{narrow(usage.ru_utime), narrow(usage.ru_stime), {}};
    ::memcpy(result.others, &usage.ru_maxrss, sizeof result.others);
    return result;
}

int overflow() {
    errno = EOVERFLOW;
    return -1;
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

#define STEPSCOPE_EXPORT_32(type, name, parameters)            \
    STEPSCOPE_EXPORT type name##_32 parameters __asm__(#name); \
    type name##_32 parameters

STEPSCOPE_EXPORT_32(int, clock_gettime, (clockid_t clock, Timespec32* time)) {
    timespec value{};
    if (const int result = ::clock_gettime(clock, &value); result != 0) {
        return result;
    }
    if (!fits(value.tv_sec)) {
        return overflow();
    }
    *time = narrow(value);
    return 0;
}

STEPSCOPE_EXPORT_32(int, clock_getres, (clockid_t clock, Timespec32* resolution)) {
    timespec value{};
    const int result = ::clock_getres(clock, &value);
    if (result == 0 && resolution) {
        *resolution = narrow(value);
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, gettimeofday, (Timeval32 * time, void* zone)) {
    timeval value{};
    if (const int result = ::gettimeofday(&value, zone); result != 0) {
        return result;
    }
    if (!fits(value.tv_sec)) {
        return overflow();
    }
    if (time) {
        *time = narrow(value);
    }
    return 0;
}

STEPSCOPE_EXPORT_32(int32_t, time, (int32_t* result)) {
    const time_t value = ::time(nullptr);
    if (!fits(value)) {
        return overflow();
    }
    if (result) {
        *result = static_cast<int32_t>(value);
    }
    return static_cast<int32_t>(value);
}

STEPSCOPE_EXPORT_32(int, timespec_get, (Timespec32 * time, int base)) {
    timespec value{};
    const int result = ::timespec_get(&value, base);
    if (result == 0 || !fits(value.tv_sec)) {
        return 0;
    }
    *time = narrow(value);
    return result;
}

STEPSCOPE_EXPORT_32(int, nanosleep, (const Timespec32* time, Timespec32* rest)) {
    const timespec value = widen(*time);
    timespec left{};
    const int result = ::nanosleep(&value, &left);
    if (result != 0 && errno == EINTR && rest) {
        *rest = narrow(left);
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, clock_nanosleep,
                    (clockid_t clock, int flags, const Timespec32* time, Timespec32* rest)) {
    const timespec value = widen(*time);
    timespec left{};
    const int error = ::clock_nanosleep(clock, flags, &value, &left);
    if (error == EINTR && rest && !(flags & TIMER_ABSTIME)) {
        *rest = narrow(left);
    }
    return error;
}

STEPSCOPE_EXPORT_32(int, thrd_sleep, (const Timespec32* time, Timespec32* rest)) {
    const timespec value = widen(*time);
    timespec left{};
    const int result = ::thrd_sleep(&value, &left);
    if (result == -1 && rest) {
        *rest = narrow(left);
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, ppoll,
                    (pollfd * fds, nfds_t count, const Timespec32* timeout, const sigset_t* mask)) {
    return ::ppoll(fds, count, Widened(timeout).pointer, mask);
}

STEPSCOPE_EXPORT_32(int, __ppoll_chk,
                    (pollfd * fds, nfds_t count, const Timespec32* timeout, const sigset_t* mask,
                     size_t size)) {
    if (size / sizeof(pollfd) < count) {
        ::abort();
    }
    return ::ppoll(fds, count, Widened(timeout).pointer, mask);
}

STEPSCOPE_EXPORT int __ppoll64_chk(pollfd* fds, nfds_t count, const timespec* timeout,
                                   const sigset_t* mask, size_t size) {
    if (size / sizeof(pollfd) < count) {
        ::abort();
    }
    return ::ppoll(fds, count, timeout, mask);
}

STEPSCOPE_EXPORT_32(int, pselect,
                    (int count, fd_set* read, fd_set* write, fd_set* except,
                     const Timespec32* timeout, const sigset_t* mask)) {
    return ::pselect(count, read, write, except, Widened(timeout).pointer, mask);
}

STEPSCOPE_EXPORT_32(int, select,
                    (int count, fd_set* read, fd_set* write, fd_set* except, Timeval32* timeout)) {
    timeval value{};
    if (timeout) {
        value = {timeout->tv_sec, timeout->tv_usec};
    }
    const int ready = ::select(count, read, write, except, timeout ? &value : nullptr);
    if (timeout) {
        *timeout = narrow(value);
    }
    return ready;
}

STEPSCOPE_EXPORT_32(int, epoll_pwait2,
                    (int fd, epoll_event* events, int count, const Timespec32* timeout,
                     const sigset_t* mask)) {
    return ::epoll_pwait2(fd, events, count, Widened(timeout).pointer, mask);
}

/** The other one rewrites time stamps among the control messages. */
STEPSCOPE_EXPORT_32(ssize_t, recvmsg, (int fd, msghdr* message, int flags)) {
    using Function = ssize_t (*)(int, msghdr*, int);
    static constinit std::atomic<Function> found = nullptr;
    Function function = found.load(std::memory_order_relaxed);
    if (!function) {
        function = reinterpret_cast<Function>(real::look_up()(RTLD_NEXT, "recvmsg"));
        found.store(function, std::memory_order_relaxed);
    }
    reader(fd, POLLIN, !(flags & MSG_DONTWAIT));
    return function(fd, message, flags);
}

STEPSCOPE_EXPORT_32(ssize_t, sendmsg, (int fd, const msghdr* message, int flags)) {
    return ::sendmsg(fd, message, flags);
}

STEPSCOPE_EXPORT_32(int, pthread_cond_timedwait,
                    (pthread_cond_t * condition, pthread_mutex_t* mutex, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_cond_timedwait(condition, mutex, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_cond_clockwait,
                    (pthread_cond_t * condition, pthread_mutex_t* mutex, clockid_t clock,
                     const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_cond_clockwait(condition, mutex, clock, &end);
}

STEPSCOPE_EXPORT_32(int, cnd_timedwait, (cnd_t * condition, mtx_t* mutex, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::cnd_timedwait(condition, mutex, &end);
}

STEPSCOPE_EXPORT_32(int, mtx_timedlock, (mtx_t * mutex, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::mtx_timedlock(mutex, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_mutex_timedlock,
                    (pthread_mutex_t * mutex, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_mutex_timedlock(mutex, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_mutex_clocklock,
                    (pthread_mutex_t * mutex, clockid_t clock, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_mutex_clocklock(mutex, clock, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_rwlock_timedrdlock,
                    (pthread_rwlock_t * lock, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_rwlock_timedrdlock(lock, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_rwlock_timedwrlock,
                    (pthread_rwlock_t * lock, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_rwlock_timedwrlock(lock, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_rwlock_clockrdlock,
                    (pthread_rwlock_t * lock, clockid_t clock, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_rwlock_clockrdlock(lock, clock, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_rwlock_clockwrlock,
                    (pthread_rwlock_t * lock, clockid_t clock, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::pthread_rwlock_clockwrlock(lock, clock, &end);
}

STEPSCOPE_EXPORT_32(int, sem_timedwait, (sem_t * semaphore, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::sem_timedwait(semaphore, &end);
}

STEPSCOPE_EXPORT_32(int, sem_clockwait,
                    (sem_t * semaphore, clockid_t clock, const Timespec32* time)) {
    const timespec end = widen(*time);
    return ::sem_clockwait(semaphore, clock, &end);
}

STEPSCOPE_EXPORT_32(int, pthread_timedjoin_np,
                    (pthread_t handle, void** result, const Timespec32* time)) {
    return ::pthread_timedjoin_np(handle, result, Widened(time).pointer);
}

STEPSCOPE_EXPORT_32(int, pthread_clockjoin_np,
                    (pthread_t handle, void** result, clockid_t clock, const Timespec32* time)) {
    return ::pthread_clockjoin_np(handle, result, clock, Widened(time).pointer);
}

STEPSCOPE_EXPORT_32(int, timerfd_settime,
                    (int fd, int flags, const Itimerspec32* value, Itimerspec32* old)) {
    const itimerspec wide = widen(*value);
    itimerspec before{};
    const int result = ::timerfd_settime(fd, flags, &wide, &before);
    if (result == 0 && old) {
        *old = {narrow(before.it_interval), narrow(before.it_value)};
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, timerfd_gettime, (int fd, Itimerspec32* value)) {
    itimerspec wide{};
    const int result = ::timerfd_gettime(fd, &wide);
    if (result == 0) {
        *value = {narrow(wide.it_interval), narrow(wide.it_value)};
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, timer_settime,
                    (timer_t id, int flags, const Itimerspec32* value, Itimerspec32* old)) {
    const itimerspec wide = widen(*value);
    itimerspec before{};
    const int result = ::timer_settime(id, flags, &wide, &before);
    if (result == 0 && old) {
        *old = {narrow(before.it_interval), narrow(before.it_value)};
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, timer_gettime, (timer_t id, Itimerspec32* value)) {
    itimerspec wide{};
    const int result = ::timer_gettime(id, &wide);
    if (result == 0) {
        *value = {narrow(wide.it_interval), narrow(wide.it_value)};
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, setitimer,
                    (__itimer_which_t which, const Itimerval32* value, Itimerval32* old)) {
    itimerval wide{};
    if (value) {
        wide = {{value->it_interval.tv_sec, value->it_interval.tv_usec},
                {value->it_value.tv_sec, value->it_value.tv_usec}};
    }
    itimerval before{};
    const int result = ::setitimer(which, value ? &wide : nullptr, &before);
    if (result == 0 && old) {
        *old = {narrow(before.it_interval), narrow(before.it_value)};
    }
    return result;
}

STEPSCOPE_EXPORT_32(int, getitimer, (__itimer_which_t which, Itimerval32* value)) {
    itimerval wide{};
    const int result = ::getitimer(which, &wide);
    if (result == 0) {
        *value = {narrow(wide.it_interval), narrow(wide.it_value)};
    }
    return result;
}

STEPSCOPE_EXPORT_32(ssize_t, mq_timedreceive,
                    (mqd_t queue, char* text, size_t size, unsigned* priority,
                     const Timespec32* deadline)) {
    return ::mq_timedreceive(queue, text, size, priority, Widened(deadline).pointer);
}

STEPSCOPE_EXPORT_32(int, mq_timedsend,
                    (mqd_t queue, const char* text, size_t size, unsigned priority,
                     const Timespec32* deadline)) {
    return ::mq_timedsend(queue, text, size, priority, Widened(deadline).pointer);
}

STEPSCOPE_EXPORT_32(int, sigtimedwait,
                    (const sigset_t* set, siginfo_t* info, const Timespec32* timeout)) {
    return ::sigtimedwait(set, info, Widened(timeout).pointer);
}

STEPSCOPE_EXPORT_32(int, getrusage, (__rusage_who_t who, Rusage32* usage)) {
    rusage wide{};
    const int result = ::getrusage(who, &wide);
    if (result == 0) {
        *usage = narrow(wide);
    }
    return result;
}

STEPSCOPE_EXPORT_32(pid_t, wait4, (pid_t pid, int* status, int options, Rusage32* usage)) {
    rusage wide{};
    const pid_t done = ::wait4(pid, status, options, &wide);
    if (done > 0 && usage) {
        *usage = narrow(wide);
    }
    return done;
}

STEPSCOPE_EXPORT_32(pid_t, wait3, (int* status, int options, Rusage32* usage)) {
    return wait4_32(-1, status, options, usage);
}

namespace stepscope::guest {

bool make_timed_call(long number, const long (&a)[6], long& result) {
    const auto failed = [](int error) {
        if (error != 0) {
            errno = error;
        }
        return error == 0 ? 0 : -1;
    };
    const auto clock = static_cast<clockid_t>(a[0]);
    const auto flags = static_cast<int>(a[1]);
    switch (number) {
        case SYS_clock_gettime:
            result = clock_gettime_32(clock, reinterpret_cast<Timespec32*>(a[1]));
            return true;
        case SYS_clock_gettime64:
            result = ::clock_gettime(clock, reinterpret_cast<timespec*>(a[1]));
            return true;
        case SYS_gettimeofday:
            result =
                gettimeofday_32(reinterpret_cast<Timeval32*>(a[0]), reinterpret_cast<void*>(a[1]));
            return true;
        case SYS_time:
            result = time_32(reinterpret_cast<int32_t*>(a[0]));
            return true;
        case SYS_nanosleep:
            result = nanosleep_32(reinterpret_cast<const Timespec32*>(a[0]),
                                  reinterpret_cast<Timespec32*>(a[1]));
            return true;
        case SYS_clock_nanosleep:
            result =
                failed(clock_nanosleep_32(clock, flags, reinterpret_cast<const Timespec32*>(a[2]),
                                          reinterpret_cast<Timespec32*>(a[3])));
            return true;
        case SYS_clock_nanosleep_time64:
            result = failed(::clock_nanosleep(clock, flags, reinterpret_cast<const timespec*>(a[2]),
                                              reinterpret_cast<timespec*>(a[3])));
            return true;
        default:
            return false;
    }
}

}  // namespace stepscope::guest
