// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clock_sleepers.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <format>
#include <string_view>

#include "clock_scheduler.hpp"
#include "processes.hpp"

namespace stepscope {

using namespace clock;

namespace {

/** What the file says now; the array holds the text. */
template <size_t Size>
std::string_view read_again(int file, std::array<char, Size>& text) {
    const ssize_t size = ::pread(file, text.data(), text.size(), 0);
    return {text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

/**
 * The letter S alone is not enough: a thread that has announced its sleep, but was preempted or
 * still looks whether it has to, shows it too. To print the system call that a thread is in, the
 * kernel makes sure that the thread is off its processor; else it prints "running". Without the
 * right to read that, the letter has to do.
 */
enum class OnCpu { yes, no, unknown };

OnCpu on_cpu(int syscall_file) {
    std::array<char, 8> text;
    const std::string_view call = read_again(syscall_file, text);
    if (call.empty() || call.starts_with('\n')) {
        return OnCpu::unknown;
    }
    return call.starts_with('r') ? OnCpu::yes : OnCpu::no;
}

bool sleeps_or_is_gone(int stat_file) {
    std::array<char, 128> text;  // the state is among the first, whatever the name
    const ProcessStat stat(read_again(stat_file, text));
    return stat.state() == 'S' || stat.gone();
}

}  // namespace

UniqueFd ClockSleepers::open_task(pid_t pid, pid_t tid, const char* name) const {
    const std::string path = std::format("{}/{}/task/{}/{}", proc_, pid, tid, name);
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

bool ClockSleepers::all_asleep(const ClockPage& page, Look look) {
    for (uint32_t i = 0; i < slots_in_use(page); ++i) {
        const ThreadSlot& slot = page.threads[i];
        const ThreadState state = slot.state.load();
        if (state != ThreadState::external && !(page.verify && state == ThreadState::waiting)) {
            continue;
        }
        if (slot.process >= kMaxProcesses || slot.tid <= 0) {
            return false;
        }
        const pid_t pid = page.processes[slot.process].pid;
        TaskFiles& task = tasks_[i];
        if (task.pid != pid || task.tid != slot.tid || task.generation != slot.generation) {
            task = {open_task(pid, slot.tid, "stat"), open_task(pid, slot.tid, "syscall"), pid,
                    slot.tid, slot.generation};
        }
        // The one that costs less comes first.
        const OnCpu runs = on_cpu(task.syscall.get());
        if (runs == OnCpu::yes) {
            return false;
        }
        if ((look == Look::sure || runs == OnCpu::unknown) && !sleeps_or_is_gone(task.stat.get())) {
            return false;
        }
    }
    return true;
}

bool ClockSleepers::soon_asleep(const ClockPage& page, Look look) {
    constexpr uint32_t kYields = 20;
    bool asleep = all_asleep(page, look);
    for (uint32_t i = 0; !asleep && i < kYields; ++i) {
        ::sched_yield();
        asleep = all_asleep(page, look);
    }
    return asleep;
}

void ClockSleepers::forget(pid_t pid) {
    std::erase_if(tasks_, [&](const auto& task) { return task.second.pid == pid; });
}

}  // namespace stepscope
