// SPDX-License-Identifier: LGPL-2.1-or-later
#include "client.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string_view>
#include <vector>

#include "base/processes.hpp"
#include "base/unique_fd.hpp"
#include "bounded_file.hpp"
#include "vdf.hpp"

namespace stepscope::steam {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLogTail = size_t{64} << 10;
constexpr size_t kCommandLine = size_t{64} << 10;

std::string_view without_trailing_space(std::string_view text) {
    size_t end = text.find_last_not_of(" \t\r\n");
    return text.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

std::optional<pid_t> parse_pid(std::string_view text) {
    auto number = parse_decimal(text);
    if (!number || *number == 0 || *number > std::numeric_limits<pid_t>::max()) {
        return std::nullopt;
    }
    return static_cast<pid_t>(*number);
}

/** The pid in the file if such a process exists and is Steam; pids are reused. */
pid_t live_client(const std::string& pid_file, const std::string& proc) {
    constexpr size_t kLongestPidFile = 32;
    auto content = read_bounded_file(pid_file, kLongestPidFile);
    auto pid = content ? parse_pid(without_trailing_space(*content)) : std::nullopt;
    if (!pid) {
        return 0;
    }
    std::string name = read_proc_file(proc + "/" + std::to_string(*pid) + "/comm", 64);
    return name.starts_with("steam") ? *pid : 0;
}

bool has_reader(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW));
    struct stat status{};
    return fd && ::fstat(fd.get(), &status) == 0 && S_ISFIFO(status.st_mode);
}

/**
 * The state on the last line that has one; any but "Logged On" means that it is not. Lines read
 * "[time] [Logged On, 4, 7] [U:1:N] text"; the log is appended to over many runs, so it tells
 * nothing once its session has ended.
 */
std::optional<bool> logged_on(const std::string& log) {
    auto tail = read_file_tail(log, kLogTail);
    if (!tail) {
        return std::nullopt;
    }
    std::string_view text = *tail;
    while (!text.empty()) {
        text = without_trailing_space(text);
        size_t start = text.rfind('\n');
        std::string_view line = start == std::string_view::npos ? text : text.substr(start + 1);
        text = text.substr(0, start == std::string_view::npos ? 0 : start);
        if (line.contains("Log session ended")) {
            return false;
        }
        size_t state = line.starts_with('[') ? line.find("] [") : std::string_view::npos;
        if (state != std::string_view::npos) {
            return line.substr(state + 3).starts_with("Logged On");
        }
    }
    return std::nullopt;
}

std::vector<std::string_view> split_arguments(std::string_view command_line) {
    std::vector<std::string_view> arguments;
    while (!command_line.empty()) {
        size_t end = std::min(command_line.find('\0'), command_line.size());
        arguments.push_back(command_line.substr(0, end));
        command_line.remove_prefix(std::min(end + 1, command_line.size()));
    }
    return arguments;
}

}  // namespace

SteamClient detect_client(const SteamInstallation& installation, const std::string& proc) {
    SteamClient client;
    std::string state = installation.home + "/.steam/";
    if (installation.packaging == Packaging::native) {
        client.pid = live_client(state + "steam.pid", proc);
    }
    client.accepts_commands = has_reader(state + "steam.pipe");
    if (client.running()) {
        client.logged_on = logged_on(installation.root + "/logs/connection_log.txt");
    }
    return client;
}

std::optional<uint64_t> reaped_title(std::string_view command_line) {
    auto arguments = split_arguments(command_line);
    if (arguments.empty()) {
        return std::nullopt;
    }
    std::string_view program = arguments[0].substr(arguments[0].rfind('/') + 1);
    auto command = std::ranges::find(arguments, "--");
    std::vector<std::string_view> own(arguments.begin(), command);
    if (program != "reaper" || command == arguments.end() ||
        !std::ranges::contains(own, "SteamLaunch") || std::ranges::contains(own, "Install=1")) {
        return std::nullopt;
    }
    constexpr std::string_view kAppId = "AppId=";
    auto id = std::ranges::find_if(
        own, [&](std::string_view argument) { return argument.starts_with(kAppId); });
    return id != own.end() ? parse_decimal(id->substr(kAppId.size())) : std::nullopt;
}

std::map<uint64_t, pid_t> running_titles(const std::string& proc) {
    std::map<uint64_t, pid_t> running;
    std::error_code error;
    for (fs::directory_iterator entry(proc, error), end; !error && entry != end;
         entry.increment(error)) {
        auto pid = parse_pid(entry->path().filename().string());
        if (!pid) {
            continue;
        }
        auto id = reaped_title(read_proc_file(entry->path() / "cmdline", kCommandLine));
        if (id) {
            running.emplace(*id, *pid);
        }
    }
    return running;
}

}  // namespace stepscope::steam
