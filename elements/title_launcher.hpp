// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <thread>

#include "launch_attempt.hpp"

namespace stepscope {

/** What a launcher tells the element beyond one attempt; on its thread, without a lock. */
struct LauncherHooks {
    LaunchHooks attempt;
    /** The capture is to let its session go. */
    std::function<void()> stop_capture;
    /** The end of the stream, as on-exit=eos wants it. */
    std::function<void()> end_of_stream;
    std::function<void(const Error& error, const std::string& debug)> fail;
    /** The capture failed by itself; what it said was kept back. */
    std::function<void()> fail_capture;
};

/**
 * Starts a title or command on a thread of its own, and again with on-exit=restart, until it is
 * stopped. notify_* are for any thread; start() and stop() for one at a time.
 */
class TitleLauncher {
public:
    explicit TitleLauncher(LauncherHooks hooks) : hooks_(std::move(hooks)) {}
    ~TitleLauncher() { stop(); }
    TitleLauncher(const TitleLauncher&) = delete;
    TitleLauncher& operator=(const TitleLauncher&) = delete;

    void start(const LaunchSettings& settings);
    /** Asks it to end the stream, then to stop, and returns at once. */
    void request_end_of_stream();
    /** Asks it to stop and returns at once. */
    void request_stop();
    /** Waits until all is down; seconds at most, see LaunchAttempt::polite_grace(). */
    void stop();

    bool stopping() const { return signals_.stop; }
    void notify_first_frame();
    void notify_capture_over();
    void notify_session_over();

private:
    void run();
    /** False: that was all. */
    bool handle_end(const AttemptEnd& end);
    void end_capture();

    LauncherHooks hooks_;
    LaunchSettings settings_;
    LaunchSignals signals_;
    std::atomic<bool> end_of_stream_ = false;
    std::thread thread_;
};

}  // namespace stepscope
