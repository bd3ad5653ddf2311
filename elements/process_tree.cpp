// SPDX-License-Identifier: LGPL-2.1-or-later
#include "process_tree.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "steam/bounded_file.hpp"
#include "steam/client.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxArguments = 64 << 10;
constexpr size_t kMaxEnvironment = 1 << 20;

/** Parent from a stat line; 0 for one that has ended. */
pid_t parent_of(const std::string& stat) {
    // The name in parentheses may contain anything, parentheses too.
    const size_t after_name = stat.rfind(')');
    if (after_name == std::string::npos || after_name + 4 >= stat.size()) {
        return 0;
    }
    const char state = stat[after_name + 2];
    if (state == 'Z' || state == 'X') {
        return 0;
    }
    pid_t parent = 0;
    std::from_chars(stat.data() + after_name + 4, stat.data() + stat.size(), parent);
    return parent;
}

std::string name_in(const std::string& stat) {
    const size_t open = stat.find('(');
    const size_t close = stat.rfind(')');
    return open < close && close != std::string::npos ? stat.substr(open + 1, close - open - 1)
                                                      : std::string();
}

std::string variable(const std::string& environment, const std::string& name) {
    const std::string wanted = std::string(1, '\0') + name + "=";
    const std::string all = std::string(1, '\0') + environment;
    const size_t at = all.find(wanted);
    if (at == std::string::npos) {
        return {};
    }
    const size_t start = at + wanted.size();
    return all.substr(start, all.find('\0', start) - start);
}

}  // namespace

std::vector<GameProcessInfo> processes_below(pid_t ancestor, const std::string& proc) {
    std::multimap<pid_t, GameProcessInfo> children;
    std::error_code error;
    for (fs::directory_iterator entry(proc, error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename();
        pid_t pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) {
            continue;
        }
        const std::string stat = steam::read_proc_file(proc + "/" + name + "/stat", 4096);
        if (const pid_t parent = parent_of(stat); parent > 0) {
            children.emplace(parent, GameProcessInfo{pid, parent, name_in(stat), {}});
        }
    }
    std::vector<GameProcessInfo> found;
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
    for (GameProcessInfo& process : found) {
        process.arguments = steam::read_proc_file(
            proc + "/" + std::to_string(process.pid) + "/cmdline", kMaxArguments);
    }
    return found;
}

TitleProcesses find_title_processes(const std::vector<GameProcessInfo>& processes,
                                    uint32_t app_id) {
    TitleProcesses result;
    std::set<pid_t> of_title;
    std::set<pid_t> parents;
    for (const GameProcessInfo& process : processes) {
        if (process.name == "steam" && result.client == 0) {
            result.client = process.pid;
        }
        if (process.name.starts_with("fossilize_repl")) {
            result.compiles_shaders = true;
        }
        if (result.title == 0 && steam::reaped_title(process.arguments) == app_id) {
            result.title = process.pid;
            of_title.insert(process.pid);
        } else if (of_title.contains(process.parent)) {
            of_title.insert(process.pid);
            parents.insert(process.parent);
        }
    }
    for (const GameProcessInfo& process : processes) {
        if (of_title.contains(process.pid) && process.pid != result.title &&
            !parents.contains(process.pid)) {
            result.game = process.pid;
            result.game_name = process.name;
        }
    }
    result.of_title.assign(of_title.begin(), of_title.end());
    return result;
}

ProcessDisplay display_of(pid_t pid, const std::string& proc) {
    const std::string environment =
        steam::read_proc_file(proc + "/" + std::to_string(pid) + "/environ", kMaxEnvironment);
    ProcessDisplay result{variable(environment, "DISPLAY"),
                          variable(environment, "STEPSCOPE_GAME_SESSION")};
    if (result.display.empty()) {
        result.display = variable(environment, "WAYLAND_DISPLAY");
    }
    return result;
}

}  // namespace stepscope
