// SPDX-License-Identifier: LGPL-2.1-or-later
#include "processes.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <format>
#include <map>
#include <set>
#include <utility>

#include "unique_fd.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

/** A stat file has some 300 characters, 52 fields. */
constexpr size_t kMaxStat = 4096;

/** The processes that run, by their parents. */
std::multimap<pid_t, ProcessInfo> processes_by_parent(const std::string& proc) {
    std::multimap<pid_t, ProcessInfo> children;
    std::error_code error;
    for (fs::directory_iterator entry(proc, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename();
        pid_t pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) {
            continue;
        }
        const std::string text = read_proc_file(std::format("{}/{}/stat", proc, name), kMaxStat);
        const ProcessStat stat(text);
        if (!stat.gone() && stat.parent() > 0) {
            children.emplace(stat.parent(),
                             ProcessInfo{pid, stat.parent(), std::string(stat.name())});
        }
    }
    return children;
}

}  // namespace

ProcessStat::ProcessStat(std::string_view text) {
    // The name, in parentheses, may hold them, too; nothing after it does.
    const size_t open = text.find('(');
    const size_t close = text.rfind(')');
    if (open < close && close != std::string_view::npos) {
        name_ = text.substr(open + 1, close - open - 1);
        fields_ = text.substr(std::min(close + 2, text.size()));
    }
}

bool ProcessStat::gone() const {
    return state() == '\0' || state() == 'Z' || state() == 'X' || state() == 'x';
}

uint64_t ProcessStat::field(int number) const {
    std::string_view rest = fields_;
    for (int skipped = 3; skipped < number; ++skipped) {
        const size_t space = rest.find(' ');
        rest.remove_prefix(space == std::string_view::npos ? rest.size() : space + 1);
    }
    uint64_t value = 0;
    std::from_chars(rest.begin(), rest.end(), value);
    return value;
}

std::string read_proc_file(const std::string& path, size_t max_bytes) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    std::string content(fd ? max_bytes : 0, '\0');
    size_t done = 0;
    while (done < content.size()) {
        const ssize_t got = ::read(fd.get(), content.data() + done, content.size() - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return {};
        }
        if (got == 0) {
            break;
        }
        done += static_cast<size_t>(got);
    }
    content.resize(done);
    return content;
}

std::vector<ProcessInfo> descendants(pid_t ancestor, const std::string& proc) {
    const auto children = processes_by_parent(proc);
    std::vector<ProcessInfo> found;
    std::set<pid_t> known{ancestor};
    const auto add_children = [&](pid_t of) {
        for (auto [child, last] = children.equal_range(of); child != last; ++child) {
            // A snapshot of what changes may have a process twice.
            if (known.insert(child->second.pid).second) {
                found.push_back(child->second);
            }
        }
    };
    add_children(ancestor);
    for (size_t i = 0; i < found.size(); ++i) {
        add_children(found[i].pid);
    }
    return found;
}

}  // namespace stepscope
