// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-server-core.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"

namespace stepscope::test {

/** A Wayland display that is served in a thread of this process. */
class ServerThread {
public:
    ServerThread();
    ~ServerThread();
    ServerThread(const ServerThread&) = delete;
    ServerThread& operator=(const ServerThread&) = delete;

    wl_display* display() const { return display_; }

    /** Serves from now on; sockets and globals must be there. */
    void start();
    /** Ends the thread and its clients; what they used must still be there. */
    void stop();

    /** Runs `function` on the thread and waits for it. */
    void run(const std::function<void()>& function);
    /** Waits, for some seconds, until the condition holds on the thread. */
    bool wait_until(const std::function<bool()>& condition);
    /** Stops answering; connections stay open. Undone by stop(). */
    void freeze();

private:
    void serve();

    wl_display* display_;
    UniqueFd command_fd_;
    wl_event_source* command_source_ = nullptr;
    std::mutex mutex_;
    std::vector<std::function<void()>> commands_;
    std::atomic<bool> quit_ = false;
    std::atomic<bool> frozen_ = false;
    std::thread thread_;
};

}  // namespace stepscope::test
