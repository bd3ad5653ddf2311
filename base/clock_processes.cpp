// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clock_processes.hpp"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <format>
#include <mutex>
#include <utility>

namespace stepscope {

using namespace clock;

namespace {

ClockProcesses::End end_of(uint32_t index, int pidfd, pid_t pid) {
    ClockProcesses::End end{.index = index,
                            .pid = pid,
                            .message = std::format("process {} of the game has ended", pid)};
    siginfo_t info{};
    if (pidfd < 0 ||
        ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOWAIT | WNOHANG) != 0 ||
        info.si_pid != pid) {
        return end;
    }
    end.child = true;
    end.crashed = info.si_code != CLD_EXITED;
    end.message = end.crashed ? std::format("process {} of the game was ended by signal {} ({})",
                                            pid, info.si_status, ::strsignal(info.si_status))
                              : std::format("process {} of the game exited with status {}", pid,
                                            info.si_status);
    return end;
}

}  // namespace

std::vector<ClockProcesses::End> ClockProcesses::watch(ClockMemory& page, int epoll) {
    std::vector<End> ended;
    for (uint32_t i = 0; i < kMaxProcesses; ++i) {
        const ProcessSlot process = [&] {
            const std::lock_guard locked(page);
            return page->processes[i];
        }();
        const auto found = watched_.find(i);
        if (process.state == ProcessState::free || process.pid <= 0) {
            if (found != watched_.end()) {
                watched_.erase(found);
            }
            continue;
        }
        if (found != watched_.end() && found->second.pid == process.pid) {
            continue;
        }
        watched_.erase(i);
        Watched watched{UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0))),
                        process.pid};
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = i;
        if (!watched.pidfd || ::epoll_ctl(epoll, EPOLL_CTL_ADD, watched.pidfd.get(), &event) != 0) {
            ended.push_back(end_of(i, -1, process.pid));
            continue;
        }
        watched_.emplace(i, std::move(watched));
    }
    return ended;
}

std::optional<ClockProcesses::End> ClockProcesses::handle_readable(uint64_t data) {
    const auto found = watched_.find(static_cast<uint32_t>(data));
    if (data > UINT32_MAX || found == watched_.end()) {
        return std::nullopt;
    }
    const Watched watched = std::move(found->second);
    watched_.erase(found);
    return end_of(static_cast<uint32_t>(data), watched.pidfd.get(), watched.pid);
}

}  // namespace stepscope
