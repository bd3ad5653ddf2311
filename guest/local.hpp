// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <stdint.h>
#include <time.h>

#include <atomic>

#include "base/clock_page.hpp"
#include "base/clock_scheduler.hpp"
#include "real.hpp"

/** Functions that replace the C library's. */
#define STEPSCOPE_EXPORT extern "C" __attribute__((visibility("default")))

/** What this process of the game knows: its part of the clock page, its threads, who waits. */
namespace stepscope::guest {

using namespace stepscope::clock;

/** One thread of the game, as it sees itself. */
struct Thread {
    uint32_t slot = kNone;
    uint32_t tid = 0;
    bool gone = false;  // unregistered: the last of its destructors run
    bool watched = false;
    bool young = false;  // see take_turn()
    uint32_t spin_reads = 0;
    uint64_t spin_now = kNever;
    uint64_t turn = kNever;  // the page's wakeups when it had its turn
    int wake_fd = -1;
    uint64_t random_key = 0;
    uint64_t random_counter = 0;
    uint64_t random_children = 0;
    uint32_t presenting = 0;    // depth of presents: one API may be made of another
    uint64_t gate = 0;          // the surface at whose present it is held
    uint64_t surfaces[4] = {};  // others that it has presented
    uint32_t next_surface = 0;
};

struct Process {
    ClockPage* page = nullptr;  // nullptr: no clock; everything passes through
    uint32_t index = kNone;
    int32_t pid = 0;
    int page_fd = -1;
    int notify_fd = -1;
    bool display_server = false;  // never held: others wait for its answers
    bool present_gate = false;    // a present returns when the next step begins
};

extern constinit Process process;

/** The calling thread, registered; nullptr where there is no clock page (or no more thread). */
Thread* current();

inline ThreadSlot& slot_of(const Thread& thread) {
    return process.page->threads[thread.slot];
}
inline uint64_t now() {
    return process.page->now_ns.load(std::memory_order_acquire);
}

/** The page's lock with all signals blocked, so that a handler can't meet it held by itself.
 * Wakes go out after it is released. */
class Locked {
public:
    Locked();
    ~Locked();
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

    void add(const Action& action);
    /** The slot's wake word has changed. */
    void wake(uint32_t slot);
    void notify() { notify_ = true; }
    /** Other threads were woken: who is young lets them go first. */
    void note_woken() { woke_ = true; }
    void settle() { add(settle_locked(*process.page)); }
    void release();

private:
    static constexpr uint32_t kMaxPending = 16;
    uint64_t signals_ = 0;
    uint32_t pending_[kMaxPending];
    uint32_t pending_count_ = 0;
    int wake_fd_ = -1;
    bool notify_ = false;
    bool woke_ = false;
    bool held_ = true;
};

/** What is waited for: an address means different things to different functions. */
enum class Space : uint32_t { mutex, condition, semaphore, rwlock, barrier, join, futex };

/** A place in the queue of an object. Lives on the waiting thread's stack. */
struct WaitNode {
    const void* key = nullptr;
    Space space = Space::futex;
    uint32_t bits = UINT32_MAX;  // of FUTEX_WAIT_BITSET
    uint32_t slot = kNone;
    bool queued = false;
    bool parked = false;     // its thread counts as idle
    bool signalled = false;  // it was picked by a waker
    WaitNode* previous = nullptr;
    WaitNode* next = nullptr;
};

enum class Woken { signalled, timeout, interrupted };

void enqueue(Locked& locked, Thread& thread, WaitNode& node);
void dequeue(Locked& locked, WaitNode& node);

/** Wakes up to `count` that wait for the object, first come first served. */
uint32_t wake_waiters(Locked& locked, const void* key, Space space, uint32_t count,
                      uint32_t bits = UINT32_MAX);
/** Moves up to `count` waiters from one futex to another without waking them. */
uint32_t requeue_waiters(Locked& locked, const void* from, const void* to, uint32_t count);

/** Cheap: may anybody wait for this object? Full barrier, to be called after the release. */
bool may_have_waiters(const void* key, Space space);

/**
 * Waits until one of the queued nodes is signalled or the virtual deadline comes. Releases the lock
 * and takes the nodes out of their queues.
 */
Woken wait(Thread& thread, Locked& locked, WaitNode* nodes, uint32_t count, WaitKind kind,
           uint64_t deadline_ns);

/** Plain virtual sleep. */
Woken sleep_until(Thread& thread, uint64_t deadline_ns, WaitKind kind = WaitKind::sleep);

/** To be called where a thread looked at the time or gave up its turn. */
void looked_at_clock(Thread& thread);

/**
 * Waits, at the same instant, until everything else waits, the display server for one: what the
 * thread finds then does not depend on who was faster. At once if nothing has run since the last
 * time, or no step is open.
 */
void wait_for_turn(Thread& thread);

/**
 * A new thread is young until it first waits for anything but a lock. Until then it runs only when
 * everything else waits: it waits here for that, at the same instant, before it begins, when it has
 * woken somebody and when it was woken. So which of the two is faster, a new thread or who made it,
 * does not show. Others may wait for it in ways that are not seen: after a while of that it goes
 * on, and is young no more.
 */
void take_turn(Thread& thread);

/** Held until the next step begins, if none is open. */
void hold_if_closed(Thread& thread);

/** The thread is about to block in the kernel for something outside. With a deadline, its wake_fd
 * becomes readable when that comes, and must be part of what is waited for. */
void enter_external(Thread& thread, WaitKind kind, uint64_t deadline_ns);
/** It's back. True if the deadline had come (wake_fd is drained then). Keeps errno. */
bool leave_external(Thread& thread);

/** Deadlines. Clocks that stand for real time share the virtual one; see docs/virtual-time.md. */
int64_t clock_base(clockid_t clock);
uint64_t deadline_after(uint64_t delay_ns);
uint64_t deadline_after(const timespec& delay);
uint64_t deadline_at(clockid_t clock, const timespec& time);
timespec clock_value(clockid_t clock);
timespec to_timespec(uint64_t ns);
inline bool valid(const timespec& time) {
    return time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < 1'000'000'000;
}

/** Registration, threads.cpp and processes.cpp. */
Thread& self();
void join_page();
void adopt_slot(uint32_t slot);
void reset_waiters();
void watch_thread_exit();
void install_fork_handlers();
uint64_t process_start_time(int32_t pid);

/** timers.cpp: a thread of the library that fires timers and ends polls for other processes. */
void ensure_timers_thread();
void reset_timers();
bool close_timer_fd(int fd);

/** descriptors.cpp: descriptors of the library, which the game's close() leaves alone. */
void protect_fd(int fd, bool on);
bool is_library_fd(int fd);
/** Before a call that reads from a descriptor: waits here for what the call would wait for. The
 * calling thread; nullptr where no thread of the game is behind it any more. */
Thread* reader(int fd, short events, bool blocks = true);

/**
 * x11.cpp: a connection to an X server. That works beside its clients, and so does the window
 * manager. What a client finds of their answers would be for chance to say, and so would how far
 * they are when it acts upon the first of them. So a client waits for its turn before it looks, and
 * before it goes on with what has come.
 */
/** …told by its peer's name, which is kept until the descriptor is closed. */
bool is_x11(int fd);
/** This process has connected to a display itself: connections are looked for from now on. */
void note_display_connection();
/** What is awaited of X servers with these events of poll: POLLIN where answers are, with POLLOUT
 * where requests are about to be sent. The descriptor may be one of epoll. */
short x11_events(int fd, short events);
/** The descriptor is about to be closed, or to mean something else. */
void forget_x11_fd(int fd);

/**
 * leaving.cpp: a program that closes its connection to a display, or exits, takes its windows with
 * it. It is held before that until what it drew last was shown, so that no picture is lost; so are
 * its requests, which a display server does not read any more where both come at once.
 */
void leave_display(int fd);
/** A child has its parent's connections, but they are not its own to end. */
void disown_displays();
void watch_process_exit();

/** evdev.cpp: where these bytes were read from an input device, its events happened now. */
void restamp_events(int fd, void* buffer, size_t size);

/** signals.cpp: returns when every thread of the process that counts as waiting sleeps in the
 * kernel, where a signal interrupts it. One that comes before that would be lost on it. */
void wait_until_asleep();

/** random.cpp */
uint64_t mix(uint64_t value);
uint64_t child_stream(Thread& thread);
bool seeded();
void fill_random(Thread& thread, void* buffer, size_t size);
bool is_random_fd(int fd);
void forget_random_fd(int fd);

}  // namespace stepscope::guest
