// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "local.hpp"

/**
 * Processes: a child is counted as running by its parent before it exists, and takes that place
 * over when the library starts in it. A process that exec()s keeps its place, counted as running,
 * until the library starts in the new program.
 */
namespace stepscope::guest {

namespace {

/** Between the fork handlers, which run in one thread with the lock held. */
struct Fork {
    uint32_t index = kNone;
    uint32_t generation = 0;
    uint64_t signals = 0;
};

constinit Fork pending_fork;

/** The calling thread's own, for when its fork fails. */
constinit thread_local Fork last_fork;

void block_signals(uint64_t& old) {
    const uint64_t all = ~uint64_t{0};
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all),
                reinterpret_cast<long>(&old), sizeof all);
}

void restore_signals(const uint64_t& old) {
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&old), 0, sizeof old);
}

void before_fork() {
    Thread* thread = current();
    uint64_t signals = 0;
    block_signals(signals);
    lock_page(*process.page, self().tid);
    pending_fork.signals = signals;
    pending_fork.index = expect_process_locked(*process.page, process.pid, 0,
                                               thread ? child_stream(*thread) : mix(process.pid));
    if (pending_fork.index != kNone) {
        pending_fork.generation = process.page->processes[pending_fork.index].generation;
    }
}

void after_fork_in_parent() {
    const uint64_t signals = pending_fork.signals;
    last_fork = pending_fork;
    unlock_page(*process.page);
    restore_signals(signals);
}

void claim(uint32_t index) {
    ProcessSlot& slot = process.page->processes[index];
    slot.pid = process.pid;
    slot.start_time = process_start_time(process.pid);
    slot.display_server = process.display_server;
    slot.state = ProcessState::live;
}

void after_fork_in_child() {
    Thread& thread = self();
    process.pid = static_cast<int32_t>(raw_syscall(SYS_getpid));
    process.index = pending_fork.index;
    thread.tid = static_cast<uint32_t>(raw_syscall(SYS_gettid));
    thread.slot = kNone;
    thread.young = false;
    disown_displays();
    if (thread.wake_fd >= 0) {
        protect_fd(thread.wake_fd, false);
        raw_syscall(SYS_close, thread.wake_fd);
        thread.wake_fd = -1;
    }
    reset_waiters();
    reset_timers();
    if (process.index == kNone) {
        process.page = nullptr;  // no room in the table: on real time
        restore_signals(pending_fork.signals);
        return;
    }
    {
        // The parent, or the controller if that died, releases the lock first.
        Locked locked;
        claim(process.index);
        if (set_event(*process.page, kEventProcesses)) {
            locked.notify();
        }
    }
    adopt_slot(process.page->processes[process.index].first_thread);
    restore_signals(pending_fork.signals);
}

/** A place for a child that the C library makes by itself. */
class ExpectedChild {
public:
    explicit ExpectedChild(Thread& thread) {
        Locked locked;
        index_ = expect_process_locked(*process.page, process.pid, 0, child_stream(thread));
        if (index_ != kNone) {
            generation_ = process.page->processes[index_].generation;
        }
    }

    /** The child's pid, if it has not come to its place by itself yet. */
    void started(pid_t pid) {
        Locked locked;
        if (ProcessSlot* slot = unclaimed(); slot && slot->pid == 0) {
            slot->pid = pid;
            slot->start_time = process_start_time(pid);
            if (set_event(*process.page, kEventProcesses)) {
                locked.notify();
            }
        }
    }

    /** There is no child, or none that came. */
    void cancel() {
        Locked locked;
        if (unclaimed()) {
            free_process_locked(*process.page, index_);
            locked.settle();
        }
    }

private:
    ProcessSlot* unclaimed() {
        ProcessSlot* slot = index_ == kNone ? nullptr : &process.page->processes[index_];
        return slot && slot->state == ProcessState::expected && slot->generation == generation_
                   ? slot
                   : nullptr;
    }

    uint32_t index_ = kNone;
    uint32_t generation_ = 0;
};

template <typename Function>
auto wait_for_child(Thread& thread, Function function) {
    enter_external(thread, WaitKind::child, kNever);
    const auto result = function();
    leave_external(thread);
    return result;
}

}  // namespace

uint64_t process_start_time(int32_t pid) {
    // "/proc/<pid>/stat", without the C library's formatting.
    char path[32] = "/proc/";
    char digits[12];
    int count = 0;
    for (int32_t rest = pid; rest > 0 || count == 0; rest /= 10) {
        digits[count++] = static_cast<char>('0' + rest % 10);
    }
    char* end = path + 6;
    while (count > 0) {
        *end++ = digits[--count];
    }
    for (const char* tail = "/stat"; *tail; ++tail) {
        *end++ = *tail;
    }
    *end = 0;
    const long fd =
        raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    char text[1024];
    const long size = raw_syscall(SYS_read, fd, reinterpret_cast<long>(text), sizeof text - 1);
    raw_syscall(SYS_close, fd);
    // The name may hold anything: fields are counted from the last parenthesis, which ends the
    // second.
    long at = size - 1;
    while (at >= 0 && text[at] != ')') {
        --at;
    }
    int field = 2;
    for (; at >= 0 && at < size && field < 22; ++at) {
        field += text[at] == ' ';
    }
    uint64_t value = 0;
    for (; at >= 0 && at < size && text[at] >= '0' && text[at] <= '9'; ++at) {
        value = value * 10 + static_cast<uint64_t>(text[at] - '0');
    }
    return value;
}

void install_fork_handlers() {
    ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void join_page() {
    ClockPage& page = *process.page;
    const auto parent = static_cast<int32_t>(raw_syscall(SYS_getppid));
    const uint64_t start_time = process_start_time(process.pid);
    {
        Locked locked;
        uint32_t found = kNone;
        const auto look = [&](auto matches) {
            for (uint32_t i = 0; i < kMaxProcesses && found == kNone; ++i) {
                if (page.processes[i].state != ProcessState::free && matches(page.processes[i])) {
                    found = i;
                }
            }
        };
        look([&](const ProcessSlot& slot) {
            return slot.pid == process.pid &&
                   (slot.start_time == 0 || slot.start_time == start_time);
        });
        const auto expected_by = [](const ProcessSlot& slot, int32_t pid) {
            return slot.state == ProcessState::expected && slot.pid == 0 && slot.parent_pid == pid;
        };
        look([&](const ProcessSlot& slot) { return expected_by(slot, parent); });
        look([&](const ProcessSlot& slot) { return expected_by(slot, 0); });
        if (found == kNone) {
            found = expect_process_locked(page, parent, process.pid,
                                          mix(page.seed ^ static_cast<uint64_t>(page.presents)));
        } else if (page.processes[found].state == ProcessState::live) {
            // A new program in a process that has been here: its threads are gone.
            const uint64_t stream = mix(page.processes[found].stream);
            free_process_locked(page, found);
            found = expect_process_locked(page, parent, process.pid, stream);
        }
        if (found == kNone) {
            process.page = nullptr;
        } else {
            process.index = found;
            claim(found);
            if (set_event(page, kEventProcesses)) {
                locked.notify();
            }
        }
        if (!process.page) {
            process.page = &page;
            locked.release();
            process.page = nullptr;
            return;
        }
    }
    adopt_slot(page.processes[process.index].first_thread);
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT pid_t fork() {
    if (!current()) {
        return real::fork();
    }
    const pid_t child = real::fork();
    if (child < 0 && process.page) {
        const int saved_errno = errno;
        Locked locked;
        ProcessSlot& slot = process.page->processes[last_fork.index % kMaxProcesses];
        if (last_fork.index != kNone && slot.state == ProcessState::expected &&
            slot.generation == last_fork.generation) {
            free_process_locked(*process.page, last_fork.index);
        }
        locked.release();
        errno = saved_errno;
    }
    return child;
}

/** A child of vfork borrows its parent's memory, thread and all; fork's has its own. */
STEPSCOPE_EXPORT pid_t vfork() {
    return ::fork();
}

STEPSCOPE_EXPORT int posix_spawn(pid_t* pid, const char* path,
                                 const posix_spawn_file_actions_t* actions,
                                 const posix_spawnattr_t* attributes, char* const arguments[],
                                 char* const environment[]) {
    Thread* thread = current();
    if (!thread) {
        return real::posix_spawn(pid, path, actions, attributes, arguments, environment);
    }
    ExpectedChild child(*thread);
    pid_t started = 0;
    const int error =
        real::posix_spawn(&started, path, actions, attributes, arguments, environment);
    error == 0 ? child.started(started) : child.cancel();
    if (error == 0 && pid) {
        *pid = started;
    }
    return error;
}

STEPSCOPE_EXPORT int posix_spawnp(pid_t* pid, const char* file,
                                  const posix_spawn_file_actions_t* actions,
                                  const posix_spawnattr_t* attributes, char* const arguments[],
                                  char* const environment[]) {
    Thread* thread = current();
    if (!thread) {
        return real::posix_spawnp(pid, file, actions, attributes, arguments, environment);
    }
    ExpectedChild child(*thread);
    pid_t started = 0;
    const int error =
        real::posix_spawnp(&started, file, actions, attributes, arguments, environment);
    error == 0 ? child.started(started) : child.cancel();
    if (error == 0 && pid) {
        *pid = started;
    }
    return error;
}

STEPSCOPE_EXPORT int system(const char* command) {
    Thread* thread = current();
    if (!thread || !command) {
        return real::system(command);
    }
    ExpectedChild child(*thread);
    const int status = wait_for_child(*thread, [&] { return real::system(command); });
    child.cancel();
    return status;
}

STEPSCOPE_EXPORT FILE* popen(const char* command, const char* mode) {
    Thread* thread = current();
    if (!thread) {
        return real::popen(command, mode);
    }
    ExpectedChild child(*thread);
    FILE* stream = real::popen(command, mode);
    if (!stream) {
        child.cancel();
    }
    return stream;
}

STEPSCOPE_EXPORT int pclose(FILE* stream) {
    Thread* thread = current();
    return thread ? wait_for_child(*thread, [&] { return real::pclose(stream); })
                  : real::pclose(stream);
}

STEPSCOPE_EXPORT pid_t wait4(pid_t pid, int* status, int options, rusage* usage) {
    Thread* thread = current();
    if (!thread || (options & WNOHANG)) {
        return real::wait4(pid, status, options, usage);
    }
    const pid_t done = real::wait4(pid, status, options | WNOHANG, usage);
    return done != 0
               ? done
               : wait_for_child(*thread, [&] { return real::wait4(pid, status, options, usage); });
}

STEPSCOPE_EXPORT pid_t waitpid(pid_t pid, int* status, int options) {
    return ::wait4(pid, status, options, nullptr);
}

STEPSCOPE_EXPORT pid_t wait(int* status) {
    return ::wait4(-1, status, 0, nullptr);
}

STEPSCOPE_EXPORT pid_t wait3(int* status, int options, rusage* usage) {
    return ::wait4(-1, status, options, usage);
}

STEPSCOPE_EXPORT int waitid(idtype_t type, id_t id, siginfo_t* info, int options) {
    Thread* thread = current();
    if (!thread || (options & WNOHANG)) {
        return real::waitid(type, id, info, options);
    }
    return wait_for_child(*thread, [&] { return real::waitid(type, id, info, options); });
}
