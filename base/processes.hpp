// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stepscope {

/**
 * What a `stat` file in /proc says of a process or a thread, read where it lies: the text is
 * borrowed. It may be empty because the process is gone, or cut short; what is missing is 0.
 */
class ProcessStat {
public:
    explicit ProcessStat(std::string_view text);

    /** Up to 15 characters of any kind: parentheses, spaces and line breaks, too. */
    std::string_view name() const { return name_; }
    /** The letter of proc_pid_stat(5): R, S, D, … */
    char state() const { return fields_.empty() ? '\0' : fields_[0]; }
    /** It does not run any more: there is at most its exit status to be fetched. */
    bool gone() const;
    pid_t parent() const { return static_cast<pid_t>(field(4)); }
    /** Those that are numbers and not negative: 4 and more, counted as in proc_pid_stat(5). */
    uint64_t field(int number) const;

private:
    std::string_view name_;
    std::string_view fields_;  // the third and what follows
};

/**
 * All that a file in /proc says, up to `max_bytes` (their size is never known beforehand); empty if
 * it is gone or not ours to read.
 */
std::string read_proc_file(const std::string& path, size_t max_bytes);

/** A process that runs, as of one look into /proc. */
struct ProcessInfo {
    pid_t pid = 0;
    pid_t parent = 0;
    std::string name;
};

/** The descendants of `ancestor` that run, parents before their children; without itself. */
std::vector<ProcessInfo> descendants(pid_t ancestor, const std::string& proc = "/proc");

}  // namespace stepscope
