// SPDX-License-Identifier: LGPL-2.1-or-later
#include "reaper.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <format>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/processes.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

/** How long the game may take to end by itself, when a signal asks it, and when the compositor
 * died. */
constexpr auto kPoliteGrace = std::chrono::seconds(5);
constexpr auto kOrphanGrace = std::chrono::milliseconds(300);
constexpr size_t kMaxMessage = 1 << 20;

/** Exact, unlike a look into /proc: as the subreaper, we are the parent of each orphan. */
bool has_children() {
    siginfo_t info{};
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

class ReaperProcess {
public:
    ReaperProcess(UniqueFd socket, const SessionDirectory& directory, pid_t compositor)
        : socket_(std::move(socket)), directory_(directory), compositor_(compositor) {}

    void run();

private:
    void handle_message(const Json& message);
    void handle_compositor_gone();
    void start_game(const Json& request);
    void reap();
    void send(const Json& message);
    void signal_all(int signal) const;

    UniqueFd socket_;
    const SessionDirectory& directory_;
    pid_t compositor_;
    std::vector<std::string> remove_;
    std::string remove_if_lock_;
    pid_t game_ = -1;
    bool game_started_ = false;
    std::optional<Clock::time_point> kill_at_;
    bool orphaned_ = false;
};

void ReaperProcess::send(const Json& message) {
    const std::vector<uint8_t> bytes = Json::to_cbor(message);
    if (!orphaned_) {
        (void)::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
}

void ReaperProcess::signal_all(int signal) const {
    for (const ProcessInfo& process : descendants(::getpid())) {
        ::kill(process.pid, signal);
    }
}

void ReaperProcess::start_game(const Json& request) {
    std::vector<std::string> words = request.at("argv");
    std::vector<std::string> environment = request.at("env");
    const std::vector<int> inherit = request.at("inherit");
    auto pointers = [](std::vector<std::string>& strings) {
        std::vector<char*> result;
        result.reserve(strings.size() + 1);
        for (std::string& string : strings) {
            result.push_back(string.data());
        }
        result.push_back(nullptr);
        return result;
    };
    std::vector<char*> argv = pointers(words);
    std::vector<char*> envp = pointers(environment);

    std::array<int, 2> raw{};
    if (::pipe2(raw.data(), O_CLOEXEC) < 0) {
        send({{"not_started", errno}});
        return;
    }
    UniqueFd read_end(raw[0]);
    UniqueFd write_end(raw[1]);
    const pid_t parent = ::getpid();
    game_ = ::fork();
    if (game_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) {
            ::_exit(1);
        }
        sigset_t none;
        sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        for (int fd : inherit) {
            ::fcntl(fd, F_SETFD, 0);
        }
        ::execvpe(argv[0], argv.data(), envp.data());
        const int error = errno;
        (void)!::write(write_end.get(), &error, sizeof(error));
        ::_exit(127);
    }
    if (game_ < 0) {
        send({{"not_started", errno}});
        return;
    }
    write_end.reset();
    int error = 0;
    if (::read(read_end.get(), &error, sizeof(error)) == sizeof(error)) {
        ::waitpid(game_, nullptr, 0);
        game_ = -1;
        send({{"not_started", error}});
        return;
    }
    game_started_ = true;
    send({{"started", game_}});
}

void ReaperProcess::handle_message(const Json& message) {
    if (message.contains("start")) {
        start_game(message.at("start"));
    } else if (message.contains("remove")) {
        remove_ = message.at("remove");
        remove_if_lock_ = message.at("lock");
    } else if (message.contains("terminate")) {
        signal_all(SIGTERM);
        const auto at = Clock::now() + std::chrono::milliseconds(message.at("terminate"));
        kill_at_ = std::min(kill_at_.value_or(at), at);
    }
}

void ReaperProcess::handle_compositor_gone() {
    orphaned_ = true;
    socket_.reset();
    signal_all(SIGTERM);
    kill_at_ = Clock::now() + kOrphanGrace;
}

void ReaperProcess::reap() {
    int status = 0;
    std::optional<int> ended;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == game_) {
            game_ = -1;
            ended = status;
        }
    }
    if (!ended) {
        return;
    }
    const bool left = has_children();
    if (WIFEXITED(*ended)) {
        send({{"ended", {{"exited", WEXITSTATUS(*ended)}}}, {"left", left}});
    } else {
        send({{"ended", {{"signaled", WTERMSIG(*ended)}}}, {"left", left}});
    }
}

void ReaperProcess::run() {
    sigset_t signals;
    sigemptyset(&signals);
    for (int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) {
        sigaddset(&signals, signal);
    }
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    bool told_empty = false;
    std::string buffer(kMaxMessage, '\0');
    for (;;) {
        const bool any_left = has_children();
        if (!any_left) {
            if (orphaned_) {
                break;
            }
            if (game_started_ && !told_empty) {
                told_empty = true;
                send({{"empty", true}});
            }
        }
        int timeout = -1;
        if (kill_at_ && any_left) {
            if (Clock::now() >= *kill_at_) {
                signal_all(SIGKILL);
            }
            timeout = 20;
        } else if (game_started_ && game_ == -1 && any_left) {
            timeout = 200;  // Processes that were handed to us end without a SIGCHLD of their own.
        }
        std::array<pollfd, 2> polled{pollfd{signal_fd.get(), POLLIN, 0},
                                     pollfd{orphaned_ ? -1 : socket_.get(), POLLIN, 0}};
        ::poll(polled.data(), polled.size(), timeout);
        signalfd_siginfo info{};
        while (::read(signal_fd.get(), &info, sizeof(info)) == sizeof(info)) {
            if (info.ssi_signo != SIGCHLD) {
                signal_all(SIGTERM);
                kill_at_ = kill_at_.value_or(Clock::now() + kPoliteGrace);
            }
        }
        reap();
        if (!orphaned_ && (polled[1].revents & (POLLIN | POLLHUP)) != 0) {
            const ssize_t size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
            if (size <= 0) {
                handle_compositor_gone();
                continue;
            }
            auto message = Json::from_cbor(buffer.begin(), buffer.begin() + size, true, false);
            if (message.is_object()) {
                handle_message(message);
            }
        }
    }
    // Another session may have found the lock of a dead process and taken its files over.
    pid_t holder = 0;
    std::ifstream(remove_if_lock_) >> holder;
    if (holder == compositor_) {
        for (const std::string& path : remove_) {
            std::error_code ignored;
            fs::remove(path, ignored);
        }
    }
    directory_.remove();
}

}  // namespace

Result<Reaper> start_reaper(const SessionDirectory& directory,
                            const std::vector<int>& close_in_reaper) {
    std::array<int, 2> raw{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, raw.data()) < 0) {
        return fail_errno("can't make a socket for the reaper");
    }
    UniqueFd ours(raw[0]);
    UniqueFd theirs(raw[1]);
    const pid_t compositor = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
        return fail_errno("can't fork the reaper");
    }
    if (pid == 0) {
        ours.reset();
        for (int fd : close_in_reaper) {
            ::close(fd);
        }
        // A session of its own: Ctrl-C is for the compositor, which ends the game in order.
        ::setsid();
        ::prctl(PR_SET_NAME, "stepscope-reap");
        ::prctl(PR_SET_PDEATHSIG, 0);
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        try {
            ReaperProcess(std::move(theirs), directory, compositor).run();
        } catch (const std::exception&) {
            ::_exit(1);
        }
        ::_exit(0);
    }
    return Reaper{pid, std::move(ours)};
}

}  // namespace stepscope
