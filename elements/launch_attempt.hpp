// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <atomic>
#include <chrono>
#include <optional>

#include "gst/gst_ptr.hpp"
#include "launch_plan.hpp"
#include "process_tree.hpp"
#include "session_process.hpp"

namespace stepscope {

/** What other threads tell a launch. */
struct LaunchSignals {
    LaunchSignals();
    void wake() const;
    /** Until then, or until stop is set. */
    void wait_until(std::chrono::steady_clock::time_point time) const;

    UniqueFd wake_fd;  // an eventfd
    std::atomic<bool> stop = false;
    std::atomic<bool> first_frame = false;
    std::atomic<bool> capture_over = false;  // the capture found the session gone, or failed
    std::atomic<bool> session_over = false;  // …and the session had said that it ends
};

/** What a launch tells the element; called on its thread, without a lock. */
struct LaunchHooks {
    /** An element message's structure, "steamlaunch-progress". */
    std::function<void(GstPtr<GstStructure>)> progress;
    std::function<void(const LaunchPlan&)> planned;
    /** The session of that name is worth capturing now. */
    std::function<void(const std::string& session)> start_capture;
    std::function<void(const std::string& line)> output;
};

/** How an attempt ended, while its session may still be there. */
struct AttemptEnd {
    enum class Kind {
        stopped,        // we were asked to
        ended,          // the title did, after its first frame
        failed,         // anything before that
        capture_error,  // the session is well, the capture isn't: it says why
    };
    Kind kind = Kind::stopped;
    Error error;        // for ended too: what to say with on-exit=error
    std::string debug;  // the tail of the output
};

/** One start of a title or command, from its plan to its end. For one thread. */
class LaunchAttempt {
public:
    LaunchAttempt(const LaunchSettings& settings, LaunchSignals& signals, const LaunchHooks& hooks,
                  unsigned number);

    /** Plans, starts and follows; returns when it is over. */
    AttemptEnd run();
    /** Takes everything down, politely for so long, and then at once. */
    void take_down(std::chrono::milliseconds grace);
    /** How long what it started may take to end by itself. */
    std::chrono::milliseconds polite_grace() const;

private:
    using Clock = std::chrono::steady_clock;

    Result<void> start();
    std::optional<AttemptEnd> check();
    std::optional<AttemptEnd> check_processes();
    std::optional<AttemptEnd> check_deadline();
    AttemptEnd finish(const ProcessEnd& end, const std::string& what);
    void handle_event(const nlohmann::json& event);
    void handle_window(const std::string& title, const std::string& app_id, pid_t pid);
    bool is_titles_window(const std::string& app_id, pid_t pid) const;
    void scan();
    void watch(pid_t pid);
    void follow_update();
    void capture();
    void wait(std::chrono::milliseconds limit);
    Error timeout_error();
    std::string output_end() const;
    std::string debug_text() const;
    GstPtr<GstStructure> stage(const char* name);
    void report(GstPtr<GstStructure> message) { hooks_.progress(std::move(message)); }

    const LaunchSettings& settings_;
    LaunchSignals& signals_;
    const LaunchHooks& hooks_;
    const unsigned number_;

    LaunchPlan plan_;
    std::unique_ptr<SessionProcess> session_;
    std::string session_name_;
    std::vector<UniqueFd> pidfds_;  // of what is worth noticing at once
    std::vector<pid_t> watched_;

    const Clock::time_point begin_ = Clock::now();
    Clock::time_point last_stage_ = begin_;
    Clock::time_point progress_at_ = begin_;  // the timeout counts from here
    Clock::time_point next_scan_ = begin_;
    Clock::time_point next_update_look_ = begin_;
    std::optional<Clock::time_point> title_gone_at_;
    std::optional<Clock::time_point> capture_over_at_;

    TitleProcesses processes_;
    bool client_seen_ = false;
    bool client_gone_ = false;
    bool title_seen_ = false;
    bool compiling_ = false;
    bool updating_ = false;
    uint64_t downloaded_ = 0;
    bool window_seen_ = false;  // the title's
    bool ready_ = false;
    bool captured_ = false;
    bool frame_seen_ = false;
    std::optional<ProcessEnd> command_end_;
    std::optional<int> not_started_;
    std::string last_window_;
};

}  // namespace stepscope
