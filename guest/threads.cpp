// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <limits.h>

#include "local.hpp"

/** Threads: counted from before they exist until the last of their destructors has run. */
namespace stepscope::guest {

namespace {

struct Start {
    void* (*function)(void*);
    void* argument;
    std::atomic<uint32_t> taken;
    uint32_t slot;
};

constinit pthread_key_t exit_key = 0;
constinit std::atomic<bool> have_exit_key = false;

/** Runs in each round of destructors; the last round is when the thread leaves. */
void thread_exits(void* round) {
    const auto count = reinterpret_cast<intptr_t>(round);
    if (count < PTHREAD_DESTRUCTOR_ITERATIONS) {
        ::pthread_setspecific(exit_key, reinterpret_cast<void*>(count + 1));
        return;
    }
    Thread& thread = self();
    if (!process.page || thread.slot == kNone) {
        return;
    }
    if (thread.wake_fd >= 0) {
        protect_fd(thread.wake_fd, false);
        raw_syscall(SYS_close, thread.wake_fd);
        thread.wake_fd = -1;
    }
    ThreadSlot& slot = slot_of(thread);
    Locked locked;
    wake_waiters(locked, reinterpret_cast<const void*>(slot.handle), Space::join, UINT32_MAX);
    free_thread_locked(*process.page, slot);
    thread.slot = kNone;
    thread.gone = true;
    locked.settle();
}

void* run_thread(void* raw) {
    auto* start = static_cast<Start*>(raw);
    const auto function = start->function;
    void* const argument = start->argument;
    adopt_slot(start->slot);
    start->taken.store(1, std::memory_order_release);
    futex_wake(start->taken);
    Thread& thread = self();
    thread.young = !process.display_server;
    take_turn(thread);
    return function(argument);
}

/** The thread's slot, if it runs still; under the lock. */
bool is_live(pthread_t handle) {
    const ClockPage& page = *process.page;
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        const ThreadSlot& slot = page.threads[i];
        if (slot.state.load(std::memory_order_relaxed) != ThreadState::free &&
            slot.process == process.index && slot.handle == handle) {
            return true;
        }
    }
    return false;
}

int join_until(Thread& thread, pthread_t handle, void** result, uint64_t deadline) {
    ::pthread_testcancel();
    for (;;) {
        Woken woken = Woken::signalled;
        {
            Locked locked;
            if (!is_live(handle)) {
                break;
            }
            if (deadline <= now()) {
                return ETIMEDOUT;
            }
            WaitNode node{.key = reinterpret_cast<const void*>(handle), .space = Space::join};
            enqueue(locked, thread, node);
            woken = wait(thread, locked, &node, 1, WaitKind::join, deadline);
        }
        if (woken == Woken::interrupted) {
            ::pthread_testcancel();
        }
    }
    return real::pthread_join(handle, result);
}

}  // namespace

void watch_thread_exit() {
    if (!have_exit_key.load()) {
        // Made by the first thread, before there are others.
        ::pthread_key_create(&exit_key, thread_exits);
        have_exit_key.store(true);
    }
    Thread& thread = self();
    if (!thread.watched) {
        thread.watched = true;
        ::pthread_setspecific(exit_key, reinterpret_cast<void*>(intptr_t{1}));
    }
}

void adopt_slot(uint32_t index) {
    Thread& thread = self();
    thread.slot = index;
    thread.tid = static_cast<uint32_t>(raw_syscall(SYS_gettid));
    thread.gone = false;
    thread.spin_now = kNever;
    ThreadSlot& slot = process.page->threads[index];
    slot.tid = static_cast<int32_t>(thread.tid);
    slot.handle = static_cast<uint64_t>(::pthread_self());
    thread.random_key = slot.stream;
    thread.random_counter = 0;
    thread.random_children = 0;
    watch_thread_exit();
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int pthread_create(pthread_t* handle, const pthread_attr_t* attributes,
                                    void* (*function)(void*), void* argument) {
    Thread* thread = current();
    if (!thread) {
        return real::pthread_create(handle, attributes, function, argument);
    }
    ClockPage& page = *process.page;
    uint32_t index = kNone;
    {
        Locked locked;
        index = allocate_thread_locked(page, process.index, child_stream(*thread));
    }
    if (index == kNone) {
        return EAGAIN;
    }
    // Lives here until the new thread has read it: no allocation in the game's heap.
    Start start{function, argument, 0, index};
    const int error = real::pthread_create(handle, attributes, run_thread, &start);
    if (error != 0) {
        Locked locked;
        free_thread_locked(page, page.threads[index]);
        return error;
    }
    while (start.taken.load(std::memory_order_acquire) == 0) {
        futex_wait(start.taken, 0, kLongWaitNs);
    }
    return 0;
}

STEPSCOPE_EXPORT int pthread_join(pthread_t handle, void** result) {
    Thread* thread = current();
    return thread ? join_until(*thread, handle, result, kNever)
                  : real::pthread_join(handle, result);
}

STEPSCOPE_EXPORT int pthread_timedjoin_np(pthread_t handle, void** result, const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::pthread_timedjoin_np(handle, result, time);
    }
    return join_until(*thread, handle, result, time ? deadline_at(CLOCK_REALTIME, *time) : kNever);
}

STEPSCOPE_EXPORT int pthread_clockjoin_np(pthread_t handle, void** result, clockid_t clock,
                                          const timespec* time) {
    Thread* thread = current();
    if (!thread) {
        return real::pthread_clockjoin_np(handle, result, clock, time);
    }
    return join_until(*thread, handle, result, time ? deadline_at(clock, *time) : kNever);
}

STEPSCOPE_EXPORT int thrd_create(thrd_t* handle, thrd_start_t function, void* argument) {
    // glibc's own passes the int through the thread's pointer result in the same way.
    struct Both {
        thrd_start_t function;
        void* argument;
    };
    Thread* thread = current();
    if (!thread) {
        return real::thrd_create(handle, function, argument);
    }
    auto* both = static_cast<Both*>(::malloc(sizeof(Both)));
    if (!both) {
        return thrd_nomem;
    }
    *both = {function, argument};
    const int error = ::pthread_create(
        handle, nullptr,
        [](void* raw) -> void* {
            const Both copy = *static_cast<Both*>(raw);
            ::free(raw);
            return reinterpret_cast<void*>(static_cast<intptr_t>(copy.function(copy.argument)));
        },
        both);
    if (error != 0) {
        ::free(both);
    }
    return error == 0 ? thrd_success : error == ENOMEM ? thrd_nomem : thrd_error;
}

STEPSCOPE_EXPORT int thrd_join(thrd_t handle, int* result) {
    Thread* thread = current();
    if (!thread) {
        return real::thrd_join(handle, result);
    }
    void* value = nullptr;
    if (join_until(*thread, handle, &value, kNever) != 0) {
        return thrd_error;
    }
    if (result) {
        *result = static_cast<int>(reinterpret_cast<intptr_t>(value));
    }
    return thrd_success;
}
