// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "local.hpp"
#include "time32.hpp"

/**
 * syscall(): the calls that other libraries make without a C function. Private futexes live in the
 * library's own queues. Shared ones stay in the kernel, where other processes can wake them, and
 * count as waiting for something outside.
 */
namespace stepscope::guest {

namespace {

uint32_t load(const uint32_t* word) {
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

long failed(int error) {
    errno = error;
    return -1;
}

long wait_private(Thread& thread, uint32_t* word, uint32_t expected, uint32_t bits,
                  uint64_t deadline) {
    WaitNode node{.key = word, .space = Space::futex, .bits = bits};
    Locked locked;
    enqueue(locked, thread, node);
    if (load(word) != expected) {
        dequeue(locked, node);
        locked.release();
        return failed(EAGAIN);
    }
    if (deadline <= now()) {
        dequeue(locked, node);
        locked.release();
        looked_at_clock(thread);
        return failed(ETIMEDOUT);
    }
    switch (wait(thread, locked, &node, 1, WaitKind::futex, deadline)) {
        case Woken::signalled:
            return 0;
        case Woken::timeout:
            return failed(ETIMEDOUT);
        case Woken::interrupted:
            break;
    }
    return failed(EINTR);
}

/** FUTEX_WAKE_OP's operation on the second word; true if its comparison holds. */
bool apply_operation(uint32_t* word, uint32_t encoded) {
    const uint32_t operation = (encoded >> 28) & 7;
    const uint32_t comparison = (encoded >> 24) & 15;
    int32_t argument = static_cast<int32_t>(encoded << 8) >> 20;
    const int32_t compared = static_cast<int32_t>(encoded << 20) >> 20;
    if (encoded & (8u << 28)) {
        argument = static_cast<int32_t>(1u << (argument & 31));
    }
    uint32_t old = load(word);
    uint32_t changed = 0;
    const auto value = static_cast<uint32_t>(argument);
    do {
        switch (operation) {
            case FUTEX_OP_SET:
                changed = value;
                break;
            case FUTEX_OP_ADD:
                changed = old + value;
                break;
            case FUTEX_OP_OR:
                changed = old | value;
                break;
            case FUTEX_OP_ANDN:
                changed = old & ~value;
                break;
            default:
                changed = old ^ value;
                break;
        }
    } while (!__atomic_compare_exchange_n(word, &old, changed, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    const auto before = static_cast<int32_t>(old);
    switch (comparison) {
        case FUTEX_OP_CMP_EQ:
            return before == compared;
        case FUTEX_OP_CMP_NE:
            return before != compared;
        case FUTEX_OP_CMP_LT:
            return before < compared;
        case FUTEX_OP_CMP_LE:
            return before <= compared;
        case FUTEX_OP_CMP_GT:
            return before > compared;
        default:
            return before >= compared;
    }
}

long wake_private(const uint32_t* word, uint32_t count, uint32_t bits) {
    if (!may_have_waiters(word, Space::futex)) {
        return 0;
    }
    Locked locked;
    return wake_waiters(locked, word, Space::futex, count, bits);
}

/** Kernel wait, without a timeout, for a word that other processes may wake. */
long wait_shared(Thread& thread, uint32_t* word, int operation, uint32_t expected, uint32_t bits) {
    enter_external(thread, WaitKind::futex, kNever);
    const long result = real::syscall(SYS_futex, word, operation, expected, nullptr, nullptr, bits);
    leave_external(thread);
    return result;
}

/** What a call has for its timeout; `number` says how long its fields are. */
timespec read_time(long number, long pointer) {
#if defined(__i386__)
    if (number == SYS_futex) {
        return widen(*reinterpret_cast<const Timespec32*>(pointer));
    }
#endif
    return *reinterpret_cast<const timespec*>(pointer);
}

long futex(Thread& thread, long number, uint32_t* word, int operation, uint32_t value, long fourth,
           uint32_t* second, uint32_t third) {
    const int command = operation & FUTEX_CMD_MASK;
    const bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
    const bool timed = waits && fourth != 0;
    uint64_t deadline = kNever;
    if (timed) {
        const timespec time = read_time(number, fourth);
        if (!valid(time)) {
            return failed(EINVAL);
        }
        deadline =
            command == FUTEX_WAIT
                ? deadline_after(time)
                : deadline_at(operation & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC,
                              time);
    }
    if (!(operation & FUTEX_PRIVATE_FLAG) && !timed) {
        if (waits) {
            return wait_shared(thread, word, operation, value, command == FUTEX_WAIT ? 0 : third);
        }
        // Wakes both kinds: a timed wait on a shared word waits in the library's queues.
        const long woken = real::syscall(number, word, operation, value, fourth, second, third);
        if (woken >= 0 && (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) &&
            static_cast<uint32_t>(woken) < value) {
            return woken + wake_private(word, value - static_cast<uint32_t>(woken),
                                        command == FUTEX_WAKE ? UINT32_MAX : third);
        }
        return woken;
    }
    switch (command) {
        case FUTEX_WAIT:
            return wait_private(thread, word, value, UINT32_MAX, deadline);
        case FUTEX_WAIT_BITSET:
            return third == 0 ? failed(EINVAL) : wait_private(thread, word, value, third, deadline);
        case FUTEX_WAKE:
            return wake_private(word, value, UINT32_MAX);
        case FUTEX_WAKE_BITSET:
            return third == 0 ? failed(EINVAL) : wake_private(word, value, third);
        case FUTEX_REQUEUE:
        case FUTEX_CMP_REQUEUE: {
            Locked locked;
            if (command == FUTEX_CMP_REQUEUE && load(word) != third) {
                locked.release();
                return failed(EAGAIN);
            }
            const uint32_t woken = wake_waiters(locked, word, Space::futex, value);
            const uint32_t moved =
                requeue_waiters(locked, word, second, static_cast<uint32_t>(fourth));
            return command == FUTEX_CMP_REQUEUE ? woken + moved : woken;
        }
        case FUTEX_WAKE_OP: {
            Locked locked;
            const bool also = apply_operation(second, third);
            uint32_t woken = wake_waiters(locked, word, Space::futex, value);
            if (also) {
                woken += wake_waiters(locked, second, Space::futex, static_cast<uint32_t>(fourth));
            }
            return woken;
        }
        default:
            // Priority inheritance: the holder is a thread of this process and runs.
            return real::syscall(number, word, operation, value, fourth, second, third);
    }
}

struct WaitV {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};

/** futex_waitv: index of the word that was woken. */
long wait_for_any(Thread& thread, const WaitV* words, uint32_t count, uint32_t flags,
                  const timespec* time, clockid_t clock) {
    constexpr uint32_t kMaxWords = 128;  // the kernel's own limit
    if (count == 0 || count > kMaxWords || flags != 0 || (time && !valid(*time))) {
        return failed(EINVAL);
    }
    WaitNode nodes[kMaxWords];
    const uint64_t deadline = time ? deadline_at(clock, *time) : kNever;
    Woken woken = Woken::timeout;
    {
        Locked locked;
        bool changed = false;
        for (uint32_t i = 0; i < count; ++i) {
            auto* word = reinterpret_cast<uint32_t*>(static_cast<uintptr_t>(words[i].address));
            nodes[i].key = word;
            enqueue(locked, thread, nodes[i]);
            changed = changed || load(word) != static_cast<uint32_t>(words[i].value);
        }
        if (changed || deadline <= now()) {
            for (uint32_t i = 0; i < count; ++i) {
                dequeue(locked, nodes[i]);
            }
            locked.release();
            return failed(changed ? EAGAIN : ETIMEDOUT);
        }
        woken = wait(thread, locked, nodes, count, WaitKind::futex, deadline);
    }
    for (uint32_t i = 0; i < count; ++i) {
        if (nodes[i].signalled) {
            return i;
        }
    }
    return failed(woken == Woken::timeout ? ETIMEDOUT : EINTR);
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a[6];
    for (long& argument : a) {
        argument = va_arg(list, long);
    }
    va_end(list);
    Thread* thread = current();
    if (!thread) {
        if (real::syscall) {
            return real::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        }
        const long result = raw_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        return result < 0 && result > -4096 ? failed(static_cast<int>(-result)) : result;
    }
#if defined(__i386__)
    if (long result = 0; make_timed_call(number, a, result)) {
        return result;
    }
#endif
    switch (number) {
#if defined(__i386__)
        case SYS_futex_time64:
#endif
        case SYS_futex:
            return futex(*thread, number, reinterpret_cast<uint32_t*>(a[0]), static_cast<int>(a[1]),
                         static_cast<uint32_t>(a[2]), a[3], reinterpret_cast<uint32_t*>(a[4]),
                         static_cast<uint32_t>(a[5]));
        case SYS_futex_waitv:
            return wait_for_any(*thread, reinterpret_cast<const WaitV*>(a[0]),
                                static_cast<uint32_t>(a[1]), static_cast<uint32_t>(a[2]),
                                reinterpret_cast<const timespec*>(a[3]),
                                static_cast<clockid_t>(a[4]));
#if !defined(__i386__)
        case SYS_clock_gettime:
            return ::clock_gettime(static_cast<clockid_t>(a[0]), reinterpret_cast<timespec*>(a[1]));
        case SYS_gettimeofday:
            return ::gettimeofday(reinterpret_cast<timeval*>(a[0]), reinterpret_cast<void*>(a[1]));
#ifdef SYS_time
        case SYS_time:
            return ::time(reinterpret_cast<time_t*>(a[0]));
#endif
        case SYS_nanosleep:
            return ::nanosleep(reinterpret_cast<const timespec*>(a[0]),
                               reinterpret_cast<timespec*>(a[1]));
        case SYS_clock_nanosleep: {
            const int error = ::clock_nanosleep(
                static_cast<clockid_t>(a[0]), static_cast<int>(a[1]),
                reinterpret_cast<const timespec*>(a[2]), reinterpret_cast<timespec*>(a[3]));
            return error == 0 ? 0 : failed(error);
        }
#endif
        case SYS_getrandom:
            return ::getrandom(reinterpret_cast<void*>(a[0]), static_cast<size_t>(a[1]),
                               static_cast<unsigned>(a[2]));
        case SYS_sched_yield:
            return ::sched_yield();
        default:
            return real::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}
