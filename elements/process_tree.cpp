// SPDX-License-Identifier: LGPL-2.1-or-later
#include "process_tree.hpp"

#include <format>
#include <set>
#include <utility>

#include "steam/client.hpp"

namespace stepscope {
namespace {

constexpr size_t kMaxArguments = 64 << 10;
constexpr size_t kMaxEnvironment = 1 << 20;

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
    std::vector<GameProcessInfo> found;
    for (ProcessInfo& process : descendants(ancestor, proc)) {
        std::string arguments =
            read_proc_file(std::format("{}/{}/cmdline", proc, process.pid), kMaxArguments);
        found.push_back({std::move(process), std::move(arguments)});
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
        read_proc_file(std::format("{}/{}/environ", proc, pid), kMaxEnvironment);
    ProcessDisplay result{variable(environment, "DISPLAY"),
                          variable(environment, "STEPSCOPE_GAME_SESSION")};
    if (result.display.empty()) {
        result.display = variable(environment, "WAYLAND_DISPLAY");
    }
    return result;
}

}  // namespace stepscope
