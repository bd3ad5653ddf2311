// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock_page.hpp"

/**
 * What may be done to a clock page; shared by the library and the controller. Freestanding.
 * Functions that end in _locked need the page's lock. None of them blocks but lock() and park().
 */
namespace stepscope::clock {

/**
 * A system call that goes around the C library's own `syscall`, which the clock library replaces.
 * Returns the kernel's value: negative errno on failure.
 */
inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                        long f = 0) {
#if defined(__x86_64__)
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    register long x5 asm("x5") = f;
    asm volatile("svc 0"
                 : "+r"(x0)
                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                 : "memory");
    return x0;
#elif defined(__i386__)
    // The sixth argument has its place in the frame pointer's register. The entry that the kernel
    // offers is where the C library keeps it; "int $0x80" can be twenty times slower in a virtual
    // machine.
    long result;
    asm volatile(
        "push %[f]\n\tpush %%ebp\n\tmov 4(%%esp), %%ebp\n\tcall *%%gs:0x10\n\tpop %%ebp\n\t"
        "add $4, %%esp"
        : "=a"(result)
        : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "g"(f)
        : "memory", "cc");
    return result;
#else
#error "the clock library knows x86-64, i386 and AArch64"
#endif
}

#if defined(__i386__)
// 32-bit programs have two of each call that takes a time.
static_assert(sizeof(time_t) == 8, "needs -D_TIME_BITS=64");
inline constexpr long kFutexCall = SYS_futex_time64;
#else
inline constexpr long kFutexCall = SYS_futex;
#endif

inline long futex_wait(std::atomic<uint32_t>& word, uint32_t expected, uint64_t timeout_ns) {
    timespec timeout{static_cast<time_t>(timeout_ns / 1'000'000'000),
                     static_cast<long>(timeout_ns % 1'000'000'000)};
    return raw_syscall(kFutexCall, reinterpret_cast<long>(&word), FUTEX_WAIT,
                       static_cast<long>(expected), reinterpret_cast<long>(&timeout));
}

inline void futex_wake(std::atomic<uint32_t>& word, int count = 1) {
    raw_syscall(kFutexCall, reinterpret_cast<long>(&word), FUTEX_WAKE, count);
}

inline constexpr uint64_t kLongWaitNs = 3'600'000'000'000;

/** False after `timeout_ns`, with the lock's word in `seen`. */
inline bool lock_page(ClockPage& page, uint32_t tid, uint64_t timeout_ns = kLongWaitNs,
                      uint32_t* seen = nullptr) {
    uint32_t free = 0;
    if (page.lock.compare_exchange_strong(free, tid, std::memory_order_acquire)) {
        return true;
    }
    for (int spins = 0; spins < 100; ++spins) {
        free = 0;
        if (page.lock.load(std::memory_order_relaxed) == 0 &&
            page.lock.compare_exchange_strong(free, tid, std::memory_order_acquire)) {
            return true;
        }
    }
    for (;;) {
        uint32_t word = page.lock.load(std::memory_order_relaxed);
        if (word == 0) {
            // Others may still sleep: who was in line keeps the mark.
            if (page.lock.compare_exchange_strong(word, tid | kLockContended,
                                                  std::memory_order_acquire)) {
                return true;
            }
            continue;
        }
        if (!(word & kLockContended) &&
            !page.lock.compare_exchange_strong(word, word | kLockContended,
                                               std::memory_order_relaxed)) {
            continue;
        }
        word |= kLockContended;
        if (futex_wait(page.lock, word, timeout_ns) == -ETIMEDOUT && timeout_ns < kLongWaitNs) {
            if (seen) {
                *seen = word;
            }
            return false;
        }
    }
}

inline void unlock_page(ClockPage& page) {
    if (page.lock.exchange(0, std::memory_order_release) & kLockContended) {
        futex_wake(page.lock);
    }
}

/** How many slots to look at. The page is in the game's hands: never trust a count in it. */
inline uint32_t slots_in_use(const ClockPage& page) {
    return page.slots_used < kMaxThreads ? page.slots_used : kMaxThreads;
}

/** What has to be done once the lock is released. */
struct Action {
    uint32_t wake = kNone;  // slot whose `wake` word changed
    bool external = false;  // …and it is blocked in the kernel: write its wake_fd
    bool notify = false;    // tell the controller that `events` has changed
};

inline bool set_event(ClockPage& page, uint32_t event) {
    return page.events.fetch_or(event, std::memory_order_acq_rel) == 0;
}

/** Counts the thread as running, before it can know. */
inline void make_running_locked(ClockPage& page, ThreadSlot& slot, uint32_t reason) {
    if (slot.state.load(std::memory_order_relaxed) == ThreadState::external) {
        --page.external;
    }
    slot.state.store(ThreadState::running, std::memory_order_relaxed);
    slot.deadline_ns.store(kNever, std::memory_order_relaxed);
    ++page.runnable;
    ++page.wakeups;
    page.asked = 0;
    slot.wake.fetch_or(reason, std::memory_order_release);
}

inline void make_idle_locked(ClockPage& page, ThreadSlot& slot, ThreadState state, WaitKind kind,
                             uint64_t deadline_ns) {
    slot.kind.store(kind, std::memory_order_relaxed);
    slot.deadline_ns.store(deadline_ns, std::memory_order_relaxed);
    slot.state.store(state, std::memory_order_relaxed);
    if (state == ThreadState::external) {
        ++page.external;
    }
    --page.runnable;
}

/** Everything waits and nothing from outside is on its way: moves time to the next event. */
inline Action jump_locked(ClockPage& page) {
    Action action;
    uint32_t due = kNone;
    uint64_t earliest = kNever;
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        const ThreadSlot& slot = page.threads[i];
        const ThreadState state = slot.state.load(std::memory_order_relaxed);
        if (state != ThreadState::waiting && state != ThreadState::external) {
            continue;
        }
        const uint64_t deadline = slot.deadline_ns.load(std::memory_order_relaxed);
        if (deadline < earliest) {
            earliest = deadline;
            due = i;
        }
        // Before who is due at this instant: those may want to see what it does.
        if (slot.kind.load(std::memory_order_relaxed) == WaitKind::turn) {
            earliest = deadline;
            due = i;
            break;
        }
    }
    const uint64_t now = page.now_ns.load(std::memory_order_relaxed);
    if (due == kNone || earliest > page.limit_ns) {
        page.now_ns.store(page.limit_ns, std::memory_order_release);
        page.step.store(StepState::closed, std::memory_order_release);
        action.notify = set_event(page, kEventStepDone);
        return action;
    }
    if (earliest > now) {
        page.now_ns.store(earliest, std::memory_order_release);
    }
    // One thread at a time, lowest slot first: those due at the same instant run one after the
    // other, in the same order in every run.
    ThreadSlot& slot = page.threads[due];
    action.wake = due;
    action.external = slot.state.load(std::memory_order_relaxed) == ThreadState::external;
    make_running_locked(page, slot, kWakeTime);
    return action;
}

/** To be called after a thread became idle: lets time move if nothing runs any more. */
inline Action settle_locked(ClockPage& page) {
    Action action;
    const StepState step = page.step.load(std::memory_order_relaxed);
    if (page.runnable != 0 || step == StepState::closed) {
        return action;
    }
    if (page.external != 0 || page.verify != 0 || step == StepState::settling) {
        if (!page.asked) {
            page.asked = 1;
            action.notify = set_event(page, kEventConfirm);
        }
        return action;
    }
    return jump_locked(page);
}

/** Time may move on from here; who is held stays held. */
inline void move_limit_locked(ClockPage& page, uint64_t delta_ns) {
    page.limit_ns = page.now_ns.load(std::memory_order_relaxed) + delta_ns;
    page.asked = 0;
    page.step.store(StepState::open, std::memory_order_release);
}

/** Threads held since the last step become due now; they run in the order of their slots. */
inline void open_step_locked(ClockPage& page, uint64_t delta_ns) {
    const uint64_t now = page.now_ns.load(std::memory_order_relaxed);
    ++page.step_seq;
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        ThreadSlot& slot = page.threads[i];
        if (slot.state.load(std::memory_order_relaxed) == ThreadState::waiting &&
            is_held(slot.kind.load(std::memory_order_relaxed))) {
            slot.deadline_ns.store(now, std::memory_order_relaxed);
        }
    }
    move_limit_locked(page, delta_ns);
}

/** Between two steps, at the end of one: who was held because it leaves goes on, at this instant.
 */
inline void let_leave_locked(ClockPage& page) {
    const uint64_t now = page.now_ns.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        ThreadSlot& slot = page.threads[i];
        if (slot.state.load(std::memory_order_relaxed) == ThreadState::waiting &&
            slot.kind.load(std::memory_order_relaxed) == WaitKind::leave) {
            slot.deadline_ns.store(now, std::memory_order_relaxed);
        }
    }
    move_limit_locked(page, 0);
}

/** A free slot, counted as running; kNone if there is none. */
inline uint32_t allocate_thread_locked(ClockPage& page, uint32_t process, uint64_t stream) {
    for (uint32_t i = 0; i < kMaxThreads; ++i) {
        ThreadSlot& slot = page.threads[i];
        if (slot.state.load(std::memory_order_relaxed) != ThreadState::free) {
            continue;
        }
        slot.kind.store(WaitKind::none, std::memory_order_relaxed);
        slot.wake.store(0, std::memory_order_relaxed);
        slot.process = process;
        slot.tid = 0;
        slot.wake_fd = -1;
        slot.deliver = 0;
        slot.stream = stream;
        slot.handle = 0;
        ++slot.generation;
        slot.state.store(ThreadState::waiting, std::memory_order_relaxed);
        make_running_locked(page, slot, 0);
        if (i >= page.slots_used) {
            page.slots_used = i + 1;
        }
        return i;
    }
    return kNone;
}

inline void free_thread_locked(ClockPage& page, ThreadSlot& slot) {
    const ThreadState state = slot.state.load(std::memory_order_relaxed);
    if (state == ThreadState::running) {
        --page.runnable;
    } else if (state == ThreadState::external) {
        --page.external;
    }
    slot.deadline_ns.store(kNever, std::memory_order_relaxed);
    slot.state.store(ThreadState::free, std::memory_order_relaxed);
}

/** An expected process with its first thread, counted as running; kNone if the table is full. */
inline uint32_t expect_process_locked(ClockPage& page, int32_t parent_pid, int32_t pid,
                                      uint64_t stream) {
    for (uint32_t i = 0; i < kMaxProcesses; ++i) {
        ProcessSlot& process = page.processes[i];
        if (process.state != ProcessState::free) {
            continue;
        }
        const uint32_t thread = allocate_thread_locked(page, i, stream);
        if (thread == kNone) {
            return kNone;
        }
        process.pid = pid;
        process.parent_pid = parent_pid;
        process.start_time = 0;
        process.first_thread = thread;
        process.timers_thread = kNone;
        process.stream = stream;
        process.display_server = 0;
        ++process.generation;
        process.state = ProcessState::expected;
        return i;
    }
    return kNone;
}

inline void free_process_locked(ClockPage& page, uint32_t index) {
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        ThreadSlot& slot = page.threads[i];
        if (slot.process == index &&
            slot.state.load(std::memory_order_relaxed) != ThreadState::free) {
            free_thread_locked(page, slot);
        }
    }
    page.processes[index].state = ProcessState::free;
}

/** The counters follow from the slots: for after a holder of the lock died. */
inline void recount_locked(ClockPage& page) {
    page.runnable = 0;
    page.external = 0;
    for (uint32_t i = 0; i < kMaxThreads; ++i) {
        const ThreadState state = page.threads[i].state.load(std::memory_order_relaxed);
        if (state != ThreadState::free) {
            page.slots_used = page.slots_used > i + 1 ? page.slots_used : i + 1;
        }
        page.runnable += state == ThreadState::running;
        page.external += state == ThreadState::external;
    }
    page.asked = 0;
}

inline const char* wait_kind_name(WaitKind kind) {
    constexpr const char* names[] = {"nothing",
                                     "sleep",
                                     "repeated clock reads",
                                     "next step",
                                     "mutex",
                                     "condition variable",
                                     "semaphore",
                                     "rwlock",
                                     "barrier",
                                     "thread join",
                                     "futex",
                                     "file descriptors",
                                     "child",
                                     "a signal",
                                     "timers",
                                     "next step, with its frame shown",
                                     "its turn",
                                     "the step's picture, to leave"};
    const auto index = static_cast<uint32_t>(kind);
    return index < sizeof names / sizeof *names ? names[index] : "unknown";
}

}  // namespace stepscope::clock
