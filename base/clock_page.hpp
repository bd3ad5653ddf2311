// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

/**
 * The clock page: the shared memory through which the clock library in the game's processes and
 * the controller outside agree on virtual time. docs/virtual-time.md specifies it.
 *
 * Everything below "scheduler" is written only by who holds `lock`; words that are waited on or
 * read without it are atomics. This header and clock_scheduler.hpp are freestanding: the clock
 * library must not bring C++ library symbols into the game.
 */
namespace stepscope::clock {

inline constexpr uint64_t kMagic = 0x4b434f4c43505453;  // "STPCLOCK", little endian
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kMaxThreads = 1024;
inline constexpr uint32_t kMaxProcesses = 64;
inline constexpr uint32_t kNone = UINT32_MAX;

/** A deadline that never comes. */
inline constexpr uint64_t kNever = UINT64_MAX;

/** Environment of the game: the page's fd, the notification pipe's fd, and paths for both that
 * still work in a child that lost the descriptors. */
inline constexpr char kEnvPageFd[] = "STEPSCOPE_CLOCK_FD";
inline constexpr char kEnvNotifyFd[] = "STEPSCOPE_CLOCK_NOTIFY_FD";
inline constexpr char kEnvPagePath[] = "STEPSCOPE_CLOCK_PATH";
inline constexpr char kEnvNotifyPath[] = "STEPSCOPE_CLOCK_NOTIFY_PATH";
/** Set for a display server that lives in the game's time: it takes part in it, but answers its
 * clients, the compositor among them, also while time stands still. */
inline constexpr char kEnvDisplayServer[] = "STEPSCOPE_CLOCK_DISPLAY_SERVER";
/** "off": presents return as they would without us. */
inline constexpr char kEnvPresentGate[] = "STEPSCOPE_PRESENT_GATE";

enum class ThreadState : uint32_t {
    free = 0,
    running = 1,
    waiting = 2,   // parked on `wake`: for time, for another thread or for the next step
    external = 3,  // blocked in the kernel: for a descriptor, a child or a signal
};

/** What a thread waits in; for reports, and to tell those held until the next step. */
enum class WaitKind : uint32_t {
    none = 0,
    sleep,
    spin,  // read the clock too often: moved on
    step,  // held until the next step begins
    mutex,
    condition,
    semaphore,
    rwlock,
    barrier,
    join,
    futex,
    descriptors,
    child,
    signal,
    timers,   // the library's own thread that fires timers
    present,  // showed its frame: held until the next step begins
    turn,     // new: runs when everything else waits
    leave,    // closes a display's connection: held until what it drew was shown
};

/** Neither time nor another thread ends it: only the next step (or, leaving, the step's end). */
inline constexpr bool is_held(WaitKind kind) {
    return kind == WaitKind::step || kind == WaitKind::present || kind == WaitKind::leave;
}

/** Bits of ClockPage::present_apis: what showed frames through the present gate. */
inline constexpr uint32_t kPresentEgl = 1;
inline constexpr uint32_t kPresentGlx = 2;
inline constexpr uint32_t kPresentVulkan = 4;
inline constexpr uint32_t kPresentOther = 8;

enum class StepState : uint32_t {
    closed = 0,    // time stands still
    open = 1,      // time may move up to limit_ns
    settling = 2,  // …stands still; a display server has something to finish
};

/** Bits of ThreadSlot::wake. */
inline constexpr uint32_t kWakeTime = 1;         // the deadline came
inline constexpr uint32_t kWakeSignalled = 2;    // another thread woke it
inline constexpr uint32_t kWakeInterrupted = 4;  // a signal handler ran
inline constexpr uint32_t kWakeDeliver = 8;      // timers thread: write the marked wake_fds

/** Bits of ClockPage::events, for the controller. */
inline constexpr uint32_t kEventStepDone = 1;
inline constexpr uint32_t kEventConfirm = 2;    // all idle, some externally: may time move?
inline constexpr uint32_t kEventProcesses = 4;  // the process table changed

struct alignas(64) ThreadSlot {
    std::atomic<ThreadState> state;
    std::atomic<WaitKind> kind;
    std::atomic<uint64_t> deadline_ns;  // kNever: only something else wakes it
    std::atomic<uint32_t> wake;         // futex
    uint32_t process;                   // index into processes
    int32_t tid;                        // 0 until the thread itself has arrived
    int32_t wake_fd;                    // external: eventfd of its process that ends the wait
    uint32_t generation;                // counts the slot's users
    uint32_t deliver;                   // 1: the timers thread has to write wake_fd
    uint64_t stream;                    // of the deterministic random numbers
    uint64_t handle;                    // pthread_t
};

enum class ProcessState : uint32_t { free = 0, expected = 1, live = 2 };

struct alignas(64) ProcessSlot {
    ProcessState state;
    int32_t pid;         // 0: not known yet
    int32_t parent_pid;  // expected: who may claim it; 0: whoever comes first
    uint32_t generation;
    uint64_t start_time;  // field 22 of /proc/PID/stat, against reuse of pids; 0: not known
    uint32_t first_thread;
    uint32_t timers_thread;  // slot, or kNone
    uint64_t stream;
    uint32_t display_server;  // 1: serves the game, is none of it
};

struct ClockPage {
    // Constant after creation.
    uint64_t magic;
    uint32_t version;
    uint32_t size;
    int64_t monotonic_base_ns;           // CLOCK_MONOTONIC and BOOTTIME at virtual time 0
    int64_t realtime_base_ns;            // CLOCK_REALTIME at virtual time 0
    uint32_t spin_reads;                 // clock reads in one instant that count as a wait…
    uint32_t spin_advance_ns;            // …of this length
    uint32_t seeded;                     // 1: random numbers come from `seed`
    std::atomic<uint32_t> present_apis;  // not constant, but changes once or twice
    uint64_t seed;
    std::atomic<uint32_t> windows;  // of the game's; not constant, but changes seldom

    // Read by every clock read; alone in its cache line.
    alignas(64) std::atomic<uint64_t> now_ns;

    // Scheduler.
    alignas(64) std::atomic<uint32_t> lock;  // 0, or the owner's tid; kLockContended: waiters
    std::atomic<uint32_t> events;
    std::atomic<StepState> step;
    uint32_t asked;       // 1: kEventConfirm was sent for this quiescence
    uint64_t limit_ns;    // T + Δ of the open step
    uint64_t step_seq;    // counts steps
    uint32_t runnable;    // threads running, plus processes and threads that are expected
    uint32_t external;    // threads in state external
    uint32_t verify;      // 1: a signal was sent; check every thread before time moves
    uint32_t slots_used;  // slots at and beyond this were never used
    uint64_t wakeups;     // counts threads made running: the quiescence's name
    uint64_t presents;    // counts presents

    alignas(64) ProcessSlot processes[kMaxProcesses];
    alignas(64) ThreadSlot threads[kMaxThreads];
};

inline constexpr uint32_t kLockContended = 0x80000000;

static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(sizeof(ThreadSlot) == 64 && sizeof(ProcessSlot) == 64);
static_assert(offsetof(ClockPage, monotonic_base_ns) == 16);
static_assert(offsetof(ClockPage, seed) == 48);
static_assert(offsetof(ClockPage, windows) == 56);
static_assert(offsetof(ClockPage, now_ns) == 64);
static_assert(offsetof(ClockPage, lock) == 128);
static_assert(offsetof(ClockPage, limit_ns) == 144);
static_assert(offsetof(ClockPage, wakeups) == 176);
static_assert(offsetof(ClockPage, processes) == 192);
static_assert(offsetof(ClockPage, threads) == 192 + 64 * kMaxProcesses);
static_assert(sizeof(ClockPage) == 192 + 64 * (kMaxProcesses + kMaxThreads));

}  // namespace stepscope::clock
