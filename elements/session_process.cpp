// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session_process.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <format>
#include <map>
#include <nlohmann/json.hpp>

#include "base/processes.hpp"
#include "pidfd.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kTailLines = 20;
constexpr size_t kMaxLine = 4096;
/** The reaper gives the game 0.3 s once the compositor is gone. */
constexpr int kHelperWaitMs = 2000;

// Where the session finds its ends of our pipes.
constexpr int kReadyFd = 3;
constexpr int kEventsFd = 4;

struct Pipe {
    UniqueFd read_end;
    UniqueFd write_end;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) {
        return fail_errno("can't make a pipe to the session");
    }
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

bool is_program(const std::string& path) {
    std::error_code ignored;
    return ::access(path.c_str(), X_OK) == 0 && fs::is_regular_file(path, ignored);
}

/** posix_spawn's objects, freed. */
struct SpawnActions {
    SpawnActions() { ::posix_spawn_file_actions_init(&actions); }
    ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions); }
    SpawnActions(const SpawnActions&) = delete;
    SpawnActions& operator=(const SpawnActions&) = delete;
    posix_spawn_file_actions_t actions{};
};

struct SpawnAttributes {
    SpawnAttributes() {
        ::posix_spawnattr_init(&attributes);
        // What the application blocks or ignores is not the game's business.
        sigset_t signals;
        ::sigemptyset(&signals);
        ::posix_spawnattr_setsigmask(&attributes, &signals);
        ::sigfillset(&signals);
        ::posix_spawnattr_setsigdefault(&attributes, &signals);
        ::posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    }
    ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes); }
    SpawnAttributes(const SpawnAttributes&) = delete;
    SpawnAttributes& operator=(const SpawnAttributes&) = delete;
    posix_spawnattr_t attributes{};
};

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    result.reserve(strings.size() + 1);
    for (std::string& text : strings) {
        result.push_back(text.data());
    }
    result.push_back(nullptr);
    return result;
}

/** What the loader reads is for the game alone, not for the compositor. */
bool for_the_game_alone(const steam::EnvironmentChange& change) {
    return change.name.starts_with("LD_") && !change.unset;
}

std::vector<std::string> changed_environment(const std::vector<steam::EnvironmentChange>& changes) {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view line = *entry;
        if (const size_t equals = line.find('='); equals != std::string_view::npos) {
            variables.emplace(line.substr(0, equals), line.substr(equals + 1));
        }
    }
    for (const auto& change : changes) {
        if (change.unset) {
            variables.erase(change.name);
        } else if (!for_the_game_alone(change)) {
            variables[change.name] = change.value;
        }
    }
    std::vector<std::string> lines;
    lines.reserve(variables.size());
    for (const auto& [name, value] : variables) {
        lines.push_back(std::format("{}={}", name, value));
    }
    return lines;
}

std::vector<std::string> command_line(const SessionCommand& command) {
    std::vector<std::string> words{command.program, "--die-with-parent",
                                   std::format("--ready-fd={}", kReadyFd),
                                   std::format("--events-fd={}", kEventsFd)};
    words.insert(words.end(), command.options.begin(), command.options.end());
    words.emplace_back("--");
    if (std::ranges::any_of(command.environment, for_the_game_alone)) {
        words.emplace_back("env");
        for (const auto& change : command.environment) {
            if (for_the_game_alone(change)) {
                words.push_back(change.name + "=" + change.value);
            }
        }
    }
    words.insert(words.end(), command.game.begin(), command.game.end());
    return words;
}

}  // namespace

std::string ProcessEnd::describe() const {
    if (signal) {
        return std::format("was ended by signal {} ({})", *signal, ::strsignal(*signal));
    }
    return status ? std::format("exited with status {}", *status) : "ended";
}

Result<std::string> find_session_program(const std::string& wanted) {
    const char* variable = std::getenv("STEPSCOPE_PROGRAM");
    for (const auto& [name, path] :
         {std::pair{"the property stepscope", wanted.c_str()}, {"$STEPSCOPE_PROGRAM", variable}}) {
        if (path != nullptr && *path != '\0') {
            if (!is_program(path)) {
                return fail(Fault::not_found,
                            std::format("{} names '{}', which is no program", name, path));
            }
            return fs::absolute(path).string();
        }
    }
    Dl_info here{};
    if (::dladdr(reinterpret_cast<const void*>(&find_session_program), &here) != 0) {
        // From lib/gstreamer-1.0, lib/ARCHITECTURE/gstreamer-1.0, or the build's folder.
        const fs::path folder = fs::absolute(here.dli_fname).parent_path();
        for (const char* relative : {"../../bin", "../../../bin", "../compositor"}) {
            std::string path = (folder / relative / "stepscope").lexically_normal();
            if (is_program(path)) {
                return path;
            }
        }
    }
    const char* variable_path = std::getenv("PATH");
    std::string_view rest = variable_path != nullptr ? variable_path : "/usr/local/bin:/usr/bin";
    while (!rest.empty()) {
        const size_t colon = std::min(rest.find(':'), rest.size());
        std::string path = std::string(rest.substr(0, colon)) + "/stepscope";
        if (is_program(path)) {
            return path;
        }
        rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
    return fail(Fault::not_found,
                "the program 'stepscope' is neither beside this plugin nor in PATH; install it, or "
                "name it in the property stepscope or in $STEPSCOPE_PROGRAM");
}

Result<std::unique_ptr<SessionProcess>> SessionProcess::start(const SessionCommand& command,
                                                              Hooks hooks) {
    std::unique_ptr<SessionProcess> session(new SessionProcess(std::move(hooks)));
    if (!command.log_file.empty()) {
        session->log_.reset(::open(command.log_file.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666));
        if (!session->log_) {
            return fail_errno(std::format("can't write log-file '{}'", command.log_file));
        }
    }
    auto ready = make_pipe();
    auto events = make_pipe();
    auto output = make_pipe();
    for (const auto* made : {&ready, &events, &output}) {
        if (!*made) {
            return std::unexpected(made->error());
        }
    }
    SpawnActions spawn;
    // High numbers first, so that none is overwritten before it is copied.
    std::array<UniqueFd, 3> high;
    const std::array<int, 3> low{output->write_end.get(), ready->write_end.get(),
                                 events->write_end.get()};
    for (size_t i = 0; i < low.size(); ++i) {
        high[i].reset(::fcntl(low[i], F_DUPFD_CLOEXEC, 64));
        if (!high[i]) {
            return fail_errno("can't duplicate a pipe to the session");
        }
    }
    auto* actions = &spawn.actions;
    ::posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(actions, high[0].get(), 1);
    ::posix_spawn_file_actions_adddup2(actions, high[0].get(), 2);
    ::posix_spawn_file_actions_adddup2(actions, high[1].get(), kReadyFd);
    ::posix_spawn_file_actions_adddup2(actions, high[2].get(), kEventsFd);
    ::posix_spawn_file_actions_addclosefrom_np(actions, kEventsFd + 1);
    if (!command.working_directory.empty()) {
        std::error_code ignored;
        if (!fs::is_directory(command.working_directory, ignored)) {
            return fail(Fault::not_found, std::format("working-directory '{}' is no folder",
                                                      command.working_directory));
        }
        ::posix_spawn_file_actions_addchdir_np(actions, command.working_directory.c_str());
    }
    SpawnAttributes attributes;
    std::vector<std::string> words = command_line(command);
    std::vector<std::string> environment = changed_environment(command.environment);
    const int error =
        ::posix_spawn(&session->pid_, words.front().c_str(), actions, &attributes.attributes,
                      pointers(words).data(), pointers(environment).data());
    if (error != 0) {
        session->pid_ = 0;
        return fail_errno(std::format("can't start '{}'", command.program), error);
    }
    session->pidfd_ = open_pidfd(session->pid_);
    session->ready_ = std::move(ready->read_end);
    session->events_ = std::move(events->read_end);
    session->output_ = std::move(output->read_end);
    return session;
}

SessionProcess::~SessionProcess() {
    if (pid_ <= 0) {
        return;
    }
    if (!ended_) {
        remember_helpers();
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    // What is left of the game ends by the reaper; that and the X server end on their own when the
    // compositor has, and must be gone before we say that all is.
    for (const auto& [pid, pidfd] : helpers_) {
        pollfd polled{pidfd.get(), POLLIN, 0};
        if (pidfd && ::poll(&polled, 1, kHelperWaitMs) == 0) {
            ::kill(pid, SIGKILL);
        }
    }
}

void SessionProcess::add_to(std::vector<pollfd>& polled) const {
    for (const UniqueFd* fd : {&pidfd_, &ready_, &events_, &output_}) {
        if (*fd) {
            polled.push_back({fd->get(), POLLIN, 0});
        }
    }
}

void SessionProcess::dispatch() {
    // The end first: what was said before it can be read after it.
    if (!ended_) {
        reap();
    }
    read_lines(output_, pending_output_, &SessionProcess::handle_output);
    read_lines(ready_, pending_ready_, &SessionProcess::handle_ready);
    read_lines(events_, pending_events_, &SessionProcess::handle_event);
}

void SessionProcess::reap() {
    siginfo_t info{};
    int result = 0;
    do {
        result = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        // Somebody in this process waits for all children, or wants none to be waited for.
        ended_ = errno == ECHILD && ::kill(pid_, 0) < 0;
    } else if (info.si_pid == pid_) {
        ended_ = true;
        (info.si_code == CLD_EXITED ? end_.status : end_.signal) = info.si_status;
    }
    if (ended_) {
        pidfd_.reset();
    }
}

void SessionProcess::read_lines(UniqueFd& fd, std::string& pending,
                                void (SessionProcess::*handle)(const std::string&)) {
    std::array<char, 4096> buffer{};
    // Bounded: a game that prints without end must not keep us from everything else.
    for (int turn = 0; turn < 64 && fd; ++turn) {
        const ssize_t size = ::read(fd.get(), buffer.data(), buffer.size());
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (size <= 0) {
            fd.reset();
            if (!pending.empty()) {
                (this->*handle)(pending);
                pending.clear();
            }
            return;
        }
        pending.append(buffer.data(), static_cast<size_t>(size));
        for (size_t end = 0; (end = pending.find('\n')) != std::string::npos;) {
            const std::string line = pending.substr(0, end);
            pending.erase(0, end + 1);
            (this->*handle)(line);
        }
        if (pending.size() > kMaxLine) {
            (this->*handle)(pending);
            pending.clear();
        }
    }
}

void SessionProcess::handle_ready(const std::string& line) {
    constexpr std::string_view kStart = "session=";
    if (line.starts_with(kStart)) {
        const size_t end = std::min(line.find(' '), line.size());
        hooks_.ready(line.substr(kStart.size(), end - kStart.size()));
    }
}

void SessionProcess::handle_event(const std::string& line) {
    const Json event = Json::parse(line, nullptr, false);
    if (!event.is_object()) {
        return;
    }
    if (event.value("event", "") == "started") {
        reaper_ = event.value("reaper", 0);
        remember_helpers();
    } else if (event.value("event", "") == "window" && !std::exchange(window_seen_, true)) {
        remember_helpers();
    }
    hooks_.event(event);
}

void SessionProcess::handle_output(const std::string& line) {
    if (log_) {
        const std::string text = line + "\n";
        (void)!::write(log_.get(), text.data(), text.size());
    }
    if (tail_.size() == kTailLines) {
        tail_.erase(tail_.begin());
    }
    tail_.push_back(line);
    hooks_.output(line);
}

/** Children of the compositor; the game's processes are the reaper's. */
void SessionProcess::remember_helpers() {
    for (const ProcessInfo& process : descendants(pid_)) {
        const bool known = std::ranges::contains(helpers_, process.pid,
                                                 [](const auto& helper) { return helper.first; });
        if (process.parent == pid_ && !known) {
            helpers_.emplace_back(process.pid, open_pidfd(process.pid));
        }
    }
}

void SessionProcess::terminate() {
    if (!ended_) {
        remember_helpers();
        ::kill(pid_, SIGTERM);
    }
}

}  // namespace stepscope
