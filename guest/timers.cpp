// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>

#include "local.hpp"

/**
 * Timers: timerfd, POSIX timers, alarm. One thread of the library per process waits on the virtual
 * clock for the earliest and fires it while it counts as running. It also writes wake_fds
 * for those in other processes, who can't.
 */
namespace stepscope::guest {

namespace {

enum class TimerKind : uint32_t { free, descriptor, posix, alarm };

struct Timer {
    TimerKind kind = TimerKind::free;
    clockid_t clock = CLOCK_MONOTONIC;
    uint64_t deadline = kNever;
    uint64_t interval = 0;
    int fd = -1;
    sigevent event{};
};

constexpr uint32_t kMaxTimers = 256;
constexpr uint32_t kAlarm = 0;  // index of the one that alarm() and setitimer() share

// All of these under the page's lock.
constinit Timer timers[kMaxTimers]{};
constinit uint32_t last_used = 0;
constinit std::atomic<bool> have_thread = false;

struct ThreadEvent {
    void (*function)(sigval);
    sigval value;
};

void* run_thread_event(void* raw) {
    const ThreadEvent event = *static_cast<ThreadEvent*>(raw);
    ::free(raw);
    event.function(event.value);
    return nullptr;
}

void write_one(int fd) {
    const uint64_t one = 1;
    raw_syscall(SYS_write, fd, reinterpret_cast<long>(&one), sizeof one);
}

/** Without the lock, by the timers thread. */
void fire(const Timer& timer, uint32_t index) {
    if (timer.kind == TimerKind::descriptor) {
        write_one(timer.fd);
        return;
    }
    wait_until_asleep();
    if (timer.kind == TimerKind::alarm) {
        raw_syscall(SYS_kill, process.pid, SIGALRM);
        return;
    }
    const int notify = timer.event.sigev_notify;
    if (notify == SIGEV_THREAD) {
        auto* event = static_cast<ThreadEvent*>(::malloc(sizeof(ThreadEvent)));
        if (!event) {
            return;
        }
        *event = {timer.event.sigev_notify_function, timer.event.sigev_value};
        pthread_t thread;
        if (::pthread_create(&thread, nullptr, run_thread_event, event) == 0) {
            ::pthread_detach(thread);
        } else {
            ::free(event);
        }
        return;
    }
    if (notify == SIGEV_NONE) {
        return;
    }
    siginfo_t info{};
    info.si_signo = timer.event.sigev_signo;
    info.si_code = SI_TIMER;
    info.si_timerid = static_cast<int>(index);
    info.si_value = timer.event.sigev_value;
    if (notify == SIGEV_THREAD_ID) {
        raw_syscall(SYS_rt_tgsigqueueinfo, process.pid, timer.event._sigev_un._tid, info.si_signo,
                    reinterpret_cast<long>(&info));
    } else {
        raw_syscall(SYS_rt_sigqueueinfo, process.pid, info.si_signo, reinterpret_cast<long>(&info));
    }
}

void advance_timer(Timer& timer) {
    timer.deadline = timer.interval != 0 ? timer.deadline + timer.interval : kNever;
}

/** The earliest deadline goes into the waiting thread's slot: whoever moves time sees it there. */
void publish_locked() {
    const uint32_t index = process.page->processes[process.index].timers_thread;
    if (index == kNone) {
        return;
    }
    ThreadSlot& slot = process.page->threads[index];
    if (slot.state.load(std::memory_order_relaxed) != ThreadState::waiting) {
        return;
    }
    uint64_t earliest = kNever;
    for (uint32_t i = 0; i < last_used; ++i) {
        if (timers[i].kind != TimerKind::free && timers[i].deadline < earliest) {
            earliest = timers[i].deadline;
        }
    }
    slot.deadline_ns.store(earliest, std::memory_order_relaxed);
}

void deliver_wakes() {
    constexpr uint32_t kMost = 64;
    int fds[kMost];
    uint32_t count = 0;
    do {
        count = 0;
        {
            Locked locked;
            ClockPage& page = *process.page;
            for (uint32_t i = 0; i < slots_in_use(page) && count < kMost; ++i) {
                ThreadSlot& slot = page.threads[i];
                if (slot.process == process.index && slot.deliver) {
                    slot.deliver = 0;
                    fds[count++] = slot.wake_fd;
                }
            }
        }
        for (uint32_t i = 0; i < count; ++i) {
            write_one(fds[i]);
        }
    } while (count == kMost);
}

/** Fires what is due; then waits, uncounted, for the next. */
void run_due_timers(ThreadSlot& slot) {
    for (;;) {
        Timer due;
        uint32_t index = kNone;
        {
            Locked locked;
            for (uint32_t i = 0; i < last_used; ++i) {
                if (timers[i].kind != TimerKind::free && timers[i].deadline <= now() &&
                    (index == kNone || timers[i].deadline < timers[index].deadline)) {
                    index = i;
                }
            }
            if (index == kNone) {
                make_idle_locked(*process.page, slot, ThreadState::waiting, WaitKind::timers,
                                 kNever);
                publish_locked();
                locked.settle();
                return;
            }
            due = timers[index];
            advance_timer(timers[index]);
            if (due.kind != TimerKind::descriptor) {
                process.page->verify = 1;
            }
        }
        fire(due, index);
    }
}

void* run_timers(void* raw) {
    Thread& thread = self();
    thread.slot = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(raw));
    thread.tid = static_cast<uint32_t>(raw_syscall(SYS_gettid));
    ThreadSlot& slot = slot_of(thread);
    slot.tid = static_cast<int32_t>(thread.tid);
    thread.random_key = slot.stream;
    bool due = true;
    for (;;) {
        if (due) {
            run_due_timers(slot);
        }
        futex_wait(slot.wake, 0, kLongWaitNs);
        const uint32_t wake = slot.wake.exchange(0, std::memory_order_acquire);
        if (wake & kWakeDeliver) {
            deliver_wakes();
        }
        due = wake & kWakeTime;
    }
    return nullptr;
}

/** Its index, or kNone. */
uint32_t find_timer_fd(int fd) {
    for (uint32_t i = 0; i < last_used; ++i) {
        if (timers[i].kind == TimerKind::descriptor && timers[i].fd == fd) {
            return i;
        }
    }
    return kNone;
}

uint32_t allocate_timer(TimerKind kind) {
    for (uint32_t i = kAlarm + 1; i < kMaxTimers; ++i) {
        if (timers[i].kind == TimerKind::free) {
            timers[i] = Timer{};
            timers[i].kind = kind;
            last_used = i + 1 > last_used ? i + 1 : last_used;
            return i;
        }
    }
    return kNone;
}

uint64_t to_ns(const timespec& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

itimerspec read_timer(const Timer& timer) {
    const uint64_t time = now();
    itimerspec value{to_timespec(timer.interval), {0, 0}};
    if (timer.deadline != kNever) {
        value.it_value = to_timespec(timer.deadline > time ? timer.deadline - time : 1);
    }
    return value;
}

void arm(Timer& timer, const itimerspec& value, bool absolute) {
    timer.interval = to_ns(value.it_interval);
    if (to_ns(value.it_value) == 0) {
        timer.deadline = kNever;
    } else {
        timer.deadline =
            absolute ? deadline_at(timer.clock, value.it_value) : deadline_after(value.it_value);
    }
    if (timer.kind == TimerKind::descriptor) {
        const long flags = raw_syscall(SYS_fcntl, timer.fd, F_GETFL);
        raw_syscall(SYS_fcntl, timer.fd, F_SETFL, flags | O_NONBLOCK);
        uint64_t count = 0;
        raw_syscall(SYS_read, timer.fd, reinterpret_cast<long>(&count), sizeof count);
        raw_syscall(SYS_fcntl, timer.fd, F_SETFL, flags);
        // Due already: a poll right after this has to see it.
        while (timer.deadline <= now()) {
            write_one(timer.fd);
            advance_timer(timer);
        }
    }
    publish_locked();
}

uint32_t index_of(timer_t timer) {
    const auto index = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(timer));
    return index > kAlarm && index < kMaxTimers && timers[index].kind == TimerKind::posix ? index
                                                                                          : kNone;
}

int invalid() {
    errno = EINVAL;
    return -1;
}

}  // namespace

void reset_timers() {
    for (Timer& timer : timers) {
        timer = Timer{};
    }
    last_used = 0;
    have_thread.store(false);
}

void ensure_timers_thread() {
    if (have_thread.load(std::memory_order_acquire)) {
        return;
    }
    uint32_t index = kNone;
    {
        Locked locked;
        ProcessSlot& own = process.page->processes[process.index];
        if (own.timers_thread != kNone) {
            return;
        }
        index = allocate_thread_locked(*process.page, process.index, mix(own.stream ^ 2));
        own.timers_thread = index;
    }
    if (index == kNone) {
        return;
    }
    have_thread.store(true, std::memory_order_release);
    // The game's handlers never run here.
    sigset_t all, old;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t thread;
    const int error = real::pthread_create(&thread, nullptr, run_timers,
                                           reinterpret_cast<void*>(uintptr_t{index}));
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
    if (error == 0) {
        ::pthread_detach(thread);
        return;
    }
    Locked locked;
    free_thread_locked(*process.page, process.page->threads[index]);
    process.page->processes[process.index].timers_thread = kNone;
    have_thread.store(false);
}

bool close_timer_fd(int fd) {
    if (last_used == 0) {
        return false;
    }
    Locked locked;
    const uint32_t index = find_timer_fd(fd);
    if (index == kNone) {
        return false;
    }
    timers[index] = Timer{};
    publish_locked();
    return true;
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int timerfd_create(clockid_t clock, int flags) {
    if (!current()) {
        return real::timerfd_create(clock, flags);
    }
    ensure_timers_thread();
    // An eventfd reads like a timerfd: the number of expirations, then nothing.
    static_assert(int{TFD_NONBLOCK} == int{EFD_NONBLOCK} && int{TFD_CLOEXEC} == int{EFD_CLOEXEC});
    const int fd = ::eventfd(0, flags);
    if (fd < 0) {
        return fd;
    }
    Locked locked;
    const uint32_t index = allocate_timer(TimerKind::descriptor);
    if (index == kNone) {
        locked.release();
        real::close(fd);
        errno = EMFILE;
        return -1;
    }
    timers[index].fd = fd;
    timers[index].clock = clock;
    return fd;
}

STEPSCOPE_EXPORT int timerfd_settime(int fd, int flags, const itimerspec* value, itimerspec* old) {
    if (!current()) {
        return real::timerfd_settime(fd, flags, value, old);
    }
    if (!valid(value->it_value) || !valid(value->it_interval)) {
        return invalid();
    }
    Locked locked;
    const uint32_t index = find_timer_fd(fd);
    if (index == kNone) {
        locked.release();
        return real::timerfd_settime(fd, flags, value, old);
    }
    if (old) {
        *old = read_timer(timers[index]);
    }
    arm(timers[index], *value, flags & TFD_TIMER_ABSTIME);
    return 0;
}

STEPSCOPE_EXPORT int timerfd_gettime(int fd, itimerspec* value) {
    if (!current()) {
        return real::timerfd_gettime(fd, value);
    }
    Locked locked;
    const uint32_t index = find_timer_fd(fd);
    if (index == kNone) {
        locked.release();
        return real::timerfd_gettime(fd, value);
    }
    *value = read_timer(timers[index]);
    return 0;
}

STEPSCOPE_EXPORT int timer_create(clockid_t clock, sigevent* event, timer_t* result) {
    if (!current()) {
        return real::timer_create(clock, event, result);
    }
    ensure_timers_thread();
    Locked locked;
    const uint32_t index = allocate_timer(TimerKind::posix);
    if (index == kNone) {
        locked.release();
        errno = EAGAIN;
        return -1;
    }
    Timer& timer = timers[index];
    timer.clock = clock;
    if (event) {
        timer.event = *event;
    } else {
        timer.event.sigev_notify = SIGEV_SIGNAL;
        timer.event.sigev_signo = SIGALRM;
        timer.event.sigev_value.sival_int = static_cast<int>(index);
    }
    *result = reinterpret_cast<timer_t>(uintptr_t{index});
    return 0;
}

STEPSCOPE_EXPORT int timer_settime(timer_t id, int flags, const itimerspec* value,
                                   itimerspec* old) {
    if (!current()) {
        return real::timer_settime(id, flags, value, old);
    }
    Locked locked;
    const uint32_t index = index_of(id);
    if (index == kNone || !valid(value->it_value) || !valid(value->it_interval)) {
        locked.release();
        return invalid();
    }
    if (old) {
        *old = read_timer(timers[index]);
    }
    arm(timers[index], *value, flags & TIMER_ABSTIME);
    return 0;
}

STEPSCOPE_EXPORT int timer_gettime(timer_t id, itimerspec* value) {
    if (!current()) {
        return real::timer_gettime(id, value);
    }
    Locked locked;
    const uint32_t index = index_of(id);
    if (index == kNone) {
        locked.release();
        return invalid();
    }
    *value = read_timer(timers[index]);
    return 0;
}

STEPSCOPE_EXPORT int timer_getoverrun(timer_t id) {
    // Time moves from deadline to deadline: none is ever missed.
    return current() ? 0 : real::timer_getoverrun(id);
}

STEPSCOPE_EXPORT int timer_delete(timer_t id) {
    if (!current()) {
        return real::timer_delete(id);
    }
    Locked locked;
    const uint32_t index = index_of(id);
    if (index == kNone) {
        locked.release();
        return invalid();
    }
    timers[index] = Timer{};
    publish_locked();
    return 0;
}

STEPSCOPE_EXPORT int setitimer(__itimer_which_t which, const itimerval* value, itimerval* old) {
    if (!current() || which != ITIMER_REAL) {
        return real::setitimer(which, value, old);
    }
    ensure_timers_thread();
    Locked locked;
    Timer& timer = timers[kAlarm];
    const itimerspec before = read_timer(timer);
    timer.kind = TimerKind::alarm;
    last_used = last_used > 0 ? last_used : 1;
    if (value) {
        arm(timer,
            {{value->it_interval.tv_sec, static_cast<long>(value->it_interval.tv_usec * 1000)},
             {value->it_value.tv_sec, static_cast<long>(value->it_value.tv_usec * 1000)}},
            false);
    }
    if (old) {
        *old = {{before.it_interval.tv_sec, before.it_interval.tv_nsec / 1000},
                {before.it_value.tv_sec, before.it_value.tv_nsec / 1000}};
    }
    return 0;
}

STEPSCOPE_EXPORT int getitimer(__itimer_which_t which, itimerval* value) {
    if (!current() || which != ITIMER_REAL) {
        return real::getitimer(which, value);
    }
    return ::setitimer(which, nullptr, value);
}

STEPSCOPE_EXPORT unsigned alarm(unsigned seconds) {
    if (!current()) {
        return real::alarm(seconds);
    }
    itimerval value{{0, 0}, {static_cast<time_t>(seconds), 0}};
    itimerval old{};
    ::setitimer(ITIMER_REAL, &value, &old);
    const auto rest = static_cast<unsigned>(old.it_value.tv_sec);
    return rest + (old.it_value.tv_usec > 0);
}
