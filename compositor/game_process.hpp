// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reaper.hpp"
#include "wlr.hpp"

namespace stepscope {

/** How the game's main process ended. */
struct GameEnd {
    enum class How { exited, signaled, not_started };
    How how = How::exited;
    int value = 0;  // exit status, signal or errno

    /** For our own exit, in the shell's convention. */
    int exit_status() const;
    std::string describe() const;
};

/** The compositor's end of the reaper: starts the game and hears how it goes. */
class GameProcess {
public:
    struct Hooks {
        std::function<void(pid_t)> started;
        /** The main process ended; `left`: processes that it started go on. */
        std::function<void(const GameEnd&, bool left)> ended;
        /** No process of the game is left. */
        std::function<void()> empty;
        /** The reaper is gone: nobody looks after the game any more. */
        std::function<void()> lost;
    };

    GameProcess(wl_event_loop* loop, Reaper reaper, Hooks hooks);
    GameProcess(const GameProcess&) = delete;
    GameProcess& operator=(const GameProcess&) = delete;
    /** Ends what is left of the game and waits for the reaper, seconds at most. */
    ~GameProcess();

    /** `inherit`: descriptors that the reaper has too and the game gets under the same numbers. */
    void start(const std::vector<std::string>& command, const std::vector<std::string>& environment,
               const std::vector<int>& inherit);
    /** Files to remove if this process dies without a word, if the file `lock` has its number then.
     */
    void remove_after_crash(const std::vector<std::string>& paths, const std::string& lock);
    /** Asks the game to end; it is made to after this time. Again: after the shorter one. */
    void terminate(std::chrono::milliseconds grace);

private:
    static int handle_message(int fd, uint32_t mask, void* data);
    void receive();
    bool send(const nlohmann::json& message) const;

    Reaper reaper_;
    Hooks hooks_;
    EventSource source_;
};

}  // namespace stepscope
