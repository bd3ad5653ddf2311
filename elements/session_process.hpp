// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "steam/words.hpp"

namespace stepscope {

/** The program `stepscope`: `wanted`, else $STEPSCOPE_PROGRAM, else beside this plugin, else in
 * PATH. */
Result<std::string> find_session_program(const std::string& wanted);

/** What to start, and how. */
struct SessionCommand {
    std::string program;               // stepscope
    std::vector<std::string> options;  // without descriptors and "--"
    std::vector<std::string> game;     // the command inside
    std::string working_directory;     // empty: our own
    std::vector<steam::EnvironmentChange> environment;
    std::string log_file;  // gets all that the session prints; empty: none
};

/** How a process ended; neither while it is unknown. */
struct ProcessEnd {
    std::optional<int> status;
    std::optional<int> signal;

    std::string describe() const;  // "exited with status 1"
};

/**
 * A `stepscope` that we started: its events, its output, its end. For one thread, the one that
 * started it, which must outlive it: the session ends with that thread.
 */
class SessionProcess {
public:
    struct Hooks {
        /** Consumers can connect to the session of that name. */
        std::function<void(const std::string& name)> ready;
        /** One line of --events-fd. */
        std::function<void(const nlohmann::json& event)> event;
        /** One line that the game, the client or the compositor printed. */
        std::function<void(const std::string& line)> output;
    };

    static Result<std::unique_ptr<SessionProcess>> start(const SessionCommand& command,
                                                         Hooks hooks);
    /** Kills what is left and waits for it: about a second at most. */
    ~SessionProcess();
    SessionProcess(const SessionProcess&) = delete;
    SessionProcess& operator=(const SessionProcess&) = delete;

    /** Descriptors to wait for; they change with each dispatch(). */
    void add_to(std::vector<pollfd>& polled) const;
    /** Reads what there is and calls the hooks; never blocks. */
    void dispatch();

    /** Ends the game, then the session; it may take until its processes are done. */
    void terminate();

    /** The compositor has ended and was waited for. */
    bool ended() const { return ended_; }
    const ProcessEnd& end() const { return end_; }
    pid_t pid() const { return pid_; }
    /** Parent of all of the game's processes; 0 until the game has started. */
    pid_t reaper() const { return reaper_; }
    /** The last lines of the output. */
    const std::vector<std::string>& tail() const { return tail_; }

private:
    explicit SessionProcess(Hooks hooks) : hooks_(std::move(hooks)) {}
    void read_lines(UniqueFd& fd, std::string& pending,
                    void (SessionProcess::*handle)(const std::string&));
    void handle_ready(const std::string& line);
    void handle_event(const std::string& line);
    void handle_output(const std::string& line);
    void reap();
    void remember_helpers();

    Hooks hooks_;
    pid_t pid_ = 0;
    UniqueFd pidfd_;
    pid_t reaper_ = 0;
    std::vector<std::pair<pid_t, UniqueFd>> helpers_;  // the reaper, the X server
    bool window_seen_ = false;
    UniqueFd ready_;
    UniqueFd events_;
    UniqueFd output_;
    UniqueFd log_;
    std::string pending_ready_;
    std::string pending_events_;
    std::string pending_output_;
    std::vector<std::string> tail_;
    bool ended_ = false;
    ProcessEnd end_;
};

}  // namespace stepscope
