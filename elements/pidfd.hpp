// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace stepscope {

/** Becomes readable when the process ends; empty where there is no such process. Glibc's own
 * declaration can't be used from C++ in all versions. */
inline UniqueFd open_pidfd(pid_t pid) {
    return UniqueFd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
}

}  // namespace stepscope
