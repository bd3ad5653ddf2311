// SPDX-License-Identifier: LGPL-2.1-or-later
#include "local.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stepscope::guest {

constinit Process process;

namespace {

constinit thread_local Thread thread_self __attribute__((tls_model("initial-exec")));

enum : uint32_t { kNotStarted, kStarting, kStarted };
constinit std::atomic<uint32_t> started = kNotStarted;

/** A descriptor out of the way of programs that count theirs, or close them all. */
int move_fd_up(int fd) {
    const long moved = raw_syscall(SYS_fcntl, fd, F_DUPFD, 500);
    return moved >= 0 ? static_cast<int>(moved) : fd;
}

int parse_fd(const char* text) {
    int fd = 0;
    if (!text || !*text) {
        return -1;
    }
    for (; *text; ++text) {
        if (*text < '0' || *text > '9' || fd > 1'000'000) {
            return -1;
        }
        fd = fd * 10 + (*text - '0');
    }
    return fd;
}

ClockPage* map_page(int fd) {
    struct stat status;
    if (fd < 0 || ::fstat(fd, &status) != 0 || status.st_size < 0 ||
        static_cast<size_t>(status.st_size) < sizeof(ClockPage)) {
        return nullptr;
    }
    void* memory = ::mmap(nullptr, sizeof(ClockPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return nullptr;
    }
    auto* page = static_cast<ClockPage*>(memory);
    if (page->magic != kMagic || page->version != kVersion || page->size != sizeof(ClockPage)) {
        ::munmap(memory, sizeof(ClockPage));
        return nullptr;
    }
    return page;
}

bool is_pipe(int fd) {
    struct stat status;
    return fd >= 0 && ::fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

/** By inherited number, or by path where a parent closed the descriptors. */
bool find_page() {
    if (!::getenv(kEnvPageFd)) {
        return false;
    }
    process.display_server = ::getenv(kEnvDisplayServer) != nullptr;
    const char* gate = ::getenv(kEnvPresentGate);
    process.present_gate = !process.display_server && (!gate || ::strcmp(gate, "off") != 0);
    const int page_fd = parse_fd(::getenv(kEnvPageFd));
    const int notify_fd = parse_fd(::getenv(kEnvNotifyFd));
    ClockPage* page = map_page(page_fd);
    if (page && is_pipe(notify_fd)) {
        process.page_fd = page_fd;
        process.notify_fd = notify_fd;
        process.page = page;
        return true;
    }
    const char* page_path = ::getenv(kEnvPagePath);
    const char* notify_path = ::getenv(kEnvNotifyPath);
    if (page_path && notify_path) {
        const long by_path = raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(page_path),
                                         O_RDWR | O_CLOEXEC);
        page = by_path >= 0 ? map_page(static_cast<int>(by_path)) : nullptr;
        const long notify = raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(notify_path),
                                        O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (page && notify >= 0) {
            process.page_fd = move_fd_up(static_cast<int>(by_path));
            process.notify_fd = move_fd_up(static_cast<int>(notify));
            process.page = page;
            return true;
        }
    }
    static constexpr char message[] =
        "stepscope: the clock page given by STEPSCOPE_CLOCK_FD can't be opened, or is of another "
        "version; this process runs on real time\n";
    raw_syscall(SYS_write, 2, reinterpret_cast<long>(message), sizeof message - 1);
    return false;
}

void start() {
    uint32_t expected = kNotStarted;
    if (!started.compare_exchange_strong(expected, kStarting)) {
        while (started.load() != kStarted && thread_self.tid == 0) {
            raw_syscall(SYS_sched_yield);
        }
        return;
    }
    thread_self.tid = static_cast<uint32_t>(raw_syscall(SYS_gettid));
    real::resolve();
    if (find_page()) {
        process.pid = static_cast<int32_t>(raw_syscall(SYS_getpid));
        install_fork_handlers();
        watch_process_exit();
        join_page();
    }
    started.store(kStarted);
}

__attribute__((constructor)) void constructor() {
    if (Thread* thread = current()) {
        hold_if_closed(*thread);
    }
}

constexpr uint32_t kBuckets = 256;

struct Bucket {
    std::atomic<uint32_t> waiters = 0;
    WaitNode* first = nullptr;
    WaitNode* last = nullptr;
};

constinit Bucket buckets[kBuckets];

Bucket& bucket_of(const void* key, Space space) {
    const uint64_t hash =
        mix(reinterpret_cast<uint64_t>(key) ^ (static_cast<uint64_t>(space) << 56));
    return buckets[hash % kBuckets];
}

}  // namespace

Thread& self() {
    return thread_self;
}

Thread* current() {
    if (started.load(std::memory_order_acquire) != kStarted) [[unlikely]] {
        start();
    }
    if (!process.page) {
        return nullptr;
    }
    Thread& thread = thread_self;
    if (thread.slot != kNone) [[likely]] {
        return &thread;
    }
    if (thread.gone || started.load(std::memory_order_relaxed) != kStarted) {
        return nullptr;
    }
    // Made by something that the library does not see: counted from here on.
    thread.tid = static_cast<uint32_t>(raw_syscall(SYS_gettid));
    uint32_t slot = kNone;
    {
        Locked locked;
        slot = allocate_thread_locked(*process.page, process.index,
                                      mix(process.page->processes[process.index].stream ^ 1));
    }
    if (slot == kNone) {
        thread.gone = true;
        return nullptr;
    }
    adopt_slot(slot);
    hold_if_closed(thread);
    return &thread;
}

Locked::Locked() {
    const uint64_t all = ~uint64_t{0};
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all),
                reinterpret_cast<long>(&signals_), sizeof all);
    lock_page(*process.page, thread_self.tid);
}

Locked::~Locked() {
    release();
    if (woke_ && thread_self.young) [[unlikely]] {
        take_turn(thread_self);
    }
}

void Locked::release() {
    if (!held_) {
        return;
    }
    held_ = false;
    unlock_page(*process.page);
    for (uint32_t i = 0; i < pending_count_; ++i) {
        futex_wake(process.page->threads[pending_[i]].wake);
    }
    if (wake_fd_ >= 0) {
        const uint64_t one = 1;
        raw_syscall(SYS_write, wake_fd_, reinterpret_cast<long>(&one), sizeof one);
    }
    if (notify_) {
        raw_syscall(SYS_write, process.notify_fd, reinterpret_cast<long>("!"), 1);
    }
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&signals_), 0,
                sizeof signals_);
}

void Locked::wake(uint32_t slot) {
    if (pending_count_ == kMaxPending) {
        futex_wake(process.page->threads[slot].wake);
        return;
    }
    pending_[pending_count_++] = slot;
}

void Locked::add(const Action& action) {
    notify_ = notify_ || action.notify;
    if (action.wake == kNone) {
        return;
    }
    ThreadSlot& slot = process.page->threads[action.wake];
    if (!action.external) {
        wake(action.wake);
    } else if (slot.process == process.index) {
        wake_fd_ = slot.wake_fd;
    } else {
        const uint32_t timers = process.page->processes[slot.process].timers_thread;
        slot.deliver = 1;
        process.page->threads[timers].wake.fetch_or(kWakeDeliver, std::memory_order_release);
        wake(timers);
    }
}

void reset_waiters() {
    for (Bucket& bucket : buckets) {
        bucket.waiters.store(0, std::memory_order_relaxed);
        bucket.first = nullptr;
        bucket.last = nullptr;
    }
}

bool may_have_waiters(const void* key, Space space) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return bucket_of(key, space).waiters.load(std::memory_order_relaxed) != 0;
}

void enqueue(Locked&, Thread& thread, WaitNode& node) {
    Bucket& bucket = bucket_of(node.key, node.space);
    node.slot = thread.slot;
    node.queued = true;
    node.previous = bucket.last;
    node.next = nullptr;
    (bucket.last ? bucket.last->next : bucket.first) = &node;
    bucket.last = &node;
    // Before the caller looks at the object again: whoever releases it after that sees us.
    bucket.waiters.fetch_add(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

void dequeue(Locked&, WaitNode& node) {
    if (!node.queued) {
        return;
    }
    Bucket& bucket = bucket_of(node.key, node.space);
    (node.previous ? node.previous->next : bucket.first) = node.next;
    (node.next ? node.next->previous : bucket.last) = node.previous;
    node.queued = false;
    bucket.waiters.fetch_sub(1, std::memory_order_relaxed);
}

uint32_t wake_waiters(Locked& locked, const void* key, Space space, uint32_t count, uint32_t bits) {
    uint32_t woken = 0;
    WaitNode* next = nullptr;
    for (WaitNode* node = bucket_of(key, space).first; node && woken < count; node = next) {
        next = node->next;
        if (node->key != key || node->space != space || !(node->bits & bits)) {
            continue;
        }
        ThreadSlot& slot = process.page->threads[node->slot];
        if (node->parked) {
            if (slot.state.load(std::memory_order_relaxed) != ThreadState::waiting) {
                continue;  // it timed out already and is on its way out of the queue
            }
            make_running_locked(*process.page, slot, kWakeSignalled);
            locked.wake(node->slot);
        }
        dequeue(locked, *node);
        node->signalled = true;
        locked.note_woken();
        ++woken;
    }
    return woken;
}

uint32_t requeue_waiters(Locked& locked, const void* from, const void* to, uint32_t count) {
    uint32_t moved = 0;
    WaitNode* next = nullptr;
    for (WaitNode* node = bucket_of(from, Space::futex).first; node && moved < count; node = next) {
        next = node->next;
        if (node->key != from || node->space != Space::futex || from == to) {
            continue;
        }
        const uint32_t slot = node->slot;
        dequeue(locked, *node);
        node->key = to;
        enqueue(locked, thread_self, *node);
        node->slot = slot;
        ++moved;
    }
    return moved;
}

}  // namespace stepscope::guest
