// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "clock_memory.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** Watches the processes that a clock's page names, to notice the end of each: they can't say
 * themselves that they were killed. One thread; never blocks. */
class ClockProcesses {
public:
    /** A process has ended. */
    struct End {
        uint32_t index = 0;  // into the page's processes
        pid_t pid = 0;
        bool child = false;  // of ours: it is known how
        bool crashed = false;
        std::string message;  // one line, for people
    };

    /**
     * Takes in who has come and forgets who the page no longer names. Descriptors are added to this
     * epoll with their place in the page as data. Returns who had ended before it could be watched.
     */
    std::vector<End> watch(ClockMemory& page, int epoll);
    /** The descriptor with this data is readable. None where it is none of these, or no longer. */
    std::optional<End> handle_readable(uint64_t data);

private:
    struct Watched {
        UniqueFd pidfd;
        pid_t pid = 0;
    };

    std::map<uint32_t, Watched> watched_;  // by index into the page's processes
};

}  // namespace stepscope
