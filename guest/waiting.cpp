// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include "local.hpp"

/** How a thread waits: for others, for time, for its turn, for the next step, for what is outside.
 */
namespace stepscope::guest {

namespace {

bool keeps_young(WaitKind kind) {
    return kind == WaitKind::turn || kind == WaitKind::mutex || kind == WaitKind::rwlock;
}

constexpr uint64_t kLookAroundNs = 100'000'000;
constexpr uint64_t kLongWorkNs = 1'000'000'000;
constexpr int kLongestStandstill = 10;

/** How long a young thread waits for its turn, in real time: others may wait for it in ways that
 * are not seen. One that spins uses the processor, one that is blocked does not. */
class Patience {
public:
    /** Looks around, each kLookAroundNs. */
    bool is_over(ClockPage& page) {
        const uint64_t now = processor_time();
        const bool others_run = __atomic_load_n(&page.runnable, __ATOMIC_RELAXED) != 0 &&
                                page.step.load(std::memory_order_relaxed) == StepState::open;
        if (!others_run || last_ == 0) {
            first_ = last_ = now;
            standstill_ = 0;
            return false;
        }
        standstill_ = now - last_ < kLookAroundNs / 100 ? standstill_ + 1 : 0;
        last_ = now;
        return now - first_ > kLongWorkNs || standstill_ >= kLongestStandstill;
    }

private:
    static uint64_t processor_time() {
        timespec time{};
        real::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
        return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
               static_cast<uint64_t>(time.tv_nsec);
    }

    uint64_t first_ = 0;
    uint64_t last_ = 0;
    int standstill_ = 0;
};

}  // namespace

Woken wait(Thread& thread, Locked& locked, WaitNode* nodes, uint32_t count, WaitKind kind,
           uint64_t deadline_ns) {
    ClockPage& page = *process.page;
    ThreadSlot& slot = slot_of(thread);
    const auto finish = [&](Locked& lock) {
        bool signalled = false;
        for (uint32_t i = 0; i < count; ++i) {
            dequeue(lock, nodes[i]);
            signalled = signalled || nodes[i].signalled;
        }
        return signalled;
    };
    for (uint32_t i = 0; i < count; ++i) {
        if (nodes[i].signalled) {
            finish(locked);
            locked.release();
            return Woken::signalled;
        }
    }
    // In a signal handler, on top of another wait: that one ends as interrupted.
    const bool nested = slot.state.load(std::memory_order_relaxed) != ThreadState::running;
    if (nested) {
        make_running_locked(page, slot, 0);
    }
    slot.wake.store(0, std::memory_order_relaxed);
    for (uint32_t i = 0; i < count; ++i) {
        nodes[i].parked = true;
    }
    const bool for_turn = kind == WaitKind::turn;
    thread.young = thread.young && keeps_young(kind);
    make_idle_locked(page, slot, ThreadState::waiting, kind, deadline_ns);
    locked.settle();
    locked.release();

    uint32_t wake = 0;
    Patience patience;
    while ((wake = slot.wake.load(std::memory_order_acquire)) == 0) {
        const long result = futex_wait(slot.wake, 0, for_turn ? kLookAroundNs : kLongWaitNs);
        const bool hopeless = for_turn && result == -ETIMEDOUT && patience.is_over(page);
        if (result == -EINTR || hopeless) {
            Locked again;
            if (slot.wake.load(std::memory_order_relaxed) != 0 || is_held(kind)) {
                continue;
            }
            thread.young = thread.young && !hopeless;
            make_running_locked(page, slot, kWakeInterrupted);
        }
    }
    bool signalled = false;
    bool still_queued = false;
    for (uint32_t i = 0; i < count; ++i) {
        still_queued = still_queued || nodes[i].queued;
        signalled = signalled || nodes[i].signalled;
    }
    if (still_queued) {
        Locked again;
        signalled = finish(again);
    }
    if (nested) {
        slot.wake.store(kWakeInterrupted, std::memory_order_relaxed);
    }
    if (signalled) {
        return Woken::signalled;
    }
    if (wake & kWakeInterrupted) {
        hold_if_closed(thread);
        return Woken::interrupted;
    }
    return Woken::timeout;
}

Woken sleep_until(Thread& thread, uint64_t deadline_ns, WaitKind kind) {
    if (deadline_ns <= now()) {
        looked_at_clock(thread);
        return Woken::timeout;
    }
    Locked locked;
    return wait(thread, locked, nullptr, 0, kind, deadline_ns);
}

void looked_at_clock(Thread& thread) {
    if (process.display_server) {
        return;
    }
    ClockPage& page = *process.page;
    const uint64_t instant = now();
    if (thread.spin_now != instant) {
        thread.spin_now = instant;
        thread.spin_reads = 1;
        return;
    }
    if (++thread.spin_reads < page.spin_reads) {
        return;
    }
    thread.spin_reads = 0;
    Locked locked;
    const uint64_t time = page.now_ns.load(std::memory_order_relaxed);
    const bool open = page.step.load(std::memory_order_relaxed) == StepState::open;
    if (open && time < page.limit_ns) {
        const uint64_t target = time + page.spin_advance_ns;
        wait(thread, locked, nullptr, 0, WaitKind::spin,
             target < page.limit_ns ? target : page.limit_ns);
    } else {
        wait(thread, locked, nullptr, 0, WaitKind::step, kNever);
    }
}

void wait_for_turn(Thread& thread) {
    ClockPage& page = *process.page;
    const auto wakeups = [&] { return __atomic_load_n(&page.wakeups, __ATOMIC_RELAXED); };
    if (thread.turn == wakeups()) {
        return;
    }
    Locked locked;
    if (page.step.load(std::memory_order_relaxed) == StepState::open) {
        const Woken woken = wait(thread, locked, nullptr, 0, WaitKind::descriptors, now());
        thread.turn = woken == Woken::timeout ? wakeups() : kNever;
    }
}

void take_turn(Thread& thread) {
    bool again = thread.young && thread.slot != kNone;
    while (again) {
        Locked locked;
        if (process.page->step.load(std::memory_order_relaxed) != StepState::open) {
            return;
        }
        // A signal handler may have run instead.
        again = wait(thread, locked, nullptr, 0, WaitKind::turn, now()) == Woken::interrupted &&
                thread.young;
    }
}

void hold_if_closed(Thread& thread) {
    if (process.display_server ||
        process.page->step.load(std::memory_order_acquire) == StepState::open) {
        return;
    }
    Locked locked;
    if (process.page->step.load(std::memory_order_relaxed) != StepState::open) {
        wait(thread, locked, nullptr, 0, WaitKind::step, kNever);
    }
}

void enter_external(Thread& thread, WaitKind kind, uint64_t deadline_ns) {
    if (deadline_ns != kNever) {
        ensure_timers_thread();
        if (thread.wake_fd < 0) {
            const long fd = raw_syscall(SYS_eventfd2, 0, EFD_CLOEXEC);
            thread.wake_fd = static_cast<int>(raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 500));
            if (thread.wake_fd < 0) {
                thread.wake_fd = static_cast<int>(fd);
            } else {
                raw_syscall(SYS_close, fd);
            }
            protect_fd(thread.wake_fd, true);
        }
    }
    ClockPage& page = *process.page;
    ThreadSlot& slot = slot_of(thread);
    thread.young = false;
    Locked locked;
    if (slot.state.load(std::memory_order_relaxed) != ThreadState::running) {
        make_running_locked(page, slot, kWakeInterrupted);
    }
    slot.wake.store(0, std::memory_order_relaxed);
    slot.wake_fd = thread.wake_fd;
    make_idle_locked(page, slot, ThreadState::external, kind, deadline_ns);
    locked.settle();
}

bool leave_external(Thread& thread) {
    const int saved_errno = errno;
    ClockPage& page = *process.page;
    ThreadSlot& slot = slot_of(thread);
    bool timeout = false;
    {
        Locked locked;
        timeout = (slot.wake.load(std::memory_order_relaxed) & kWakeTime) != 0;
        if (slot.state.load(std::memory_order_relaxed) == ThreadState::external) {
            make_running_locked(page, slot, 0);
        }
        if (!timeout && !process.display_server &&
            page.step.load(std::memory_order_relaxed) != StepState::open) {
            wait(thread, locked, nullptr, 0, WaitKind::step, kNever);
        }
    }
    if (timeout) {
        // Whoever ended the wait writes exactly once; it may still be about to.
        uint64_t value = 0;
        while (raw_syscall(SYS_read, thread.wake_fd, reinterpret_cast<long>(&value),
                           sizeof value) == -EINTR) {
        }
    }
    errno = saved_errno;
    return timeout;
}

}  // namespace stepscope::guest
