// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

#include "clock_page.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/**
 * Tells whether the game's threads that wait do sleep, which only the kernel knows: one whose wait
 * is not on virtual time may have been woken and not have run yet, and then the clock's page still
 * says that it waits.
 *
 * The kernel wakes a thread within the call that makes its descriptor ready, its futex change or
 * its child end: a thread that sleeps now has not been woken by anything yet. The other way round a
 * thread that is not asleep need not have been woken: it may still be on its way to sleep.
 *
 * Looks into /proc, and keeps open what it has looked at: another look is one or two system calls
 * for each thread, which is what steps of games with many threads cost. One thread; never blocks.
 * The page is read without its lock, and may hold anything.
 */
class ClockSleepers {
public:
    /** How sure it has to be. */
    enum class Look {
        /** Who is off its processor, in a system call, counts as asleep, even where it was woken
         * and waits for memory or a disk now. The cheap half of the other. */
        quick,
        /** For time to move. */
        sure,
    };

    explicit ClockSleepers(std::string proc = "/proc") : proc_(std::move(proc)) {}

    /**
     * Every thread that waits for something outside is asleep, or gone; while the page's `verify`
     * is set, every thread that waits.
     */
    bool all_asleep(const clock::ClockPage& page, Look look = Look::sure);
    /** The same, with some microseconds of patience with who is on its way to sleep. */
    bool soon_asleep(const clock::ClockPage& page, Look look = Look::sure);
    /** A process has ended: closes what is open of it. */
    void forget(pid_t pid);

private:
    /** A thread's entry in /proc. */
    struct TaskFiles {
        UniqueFd stat;
        UniqueFd syscall;
        pid_t pid = 0;
        pid_t tid = 0;
        uint32_t generation = 0;
    };

    UniqueFd open_task(pid_t pid, pid_t tid, const char* name) const;

    std::string proc_;
    std::map<uint32_t, TaskFiles> tasks_;  // by slot
};

}  // namespace stepscope
