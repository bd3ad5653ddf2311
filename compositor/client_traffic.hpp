// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "wlr.hpp"

namespace stepscope {

/** Whether something is on its way between a display's clients and us. On the loop's thread. */
class ClientTraffic {
public:
    explicit ClientTraffic(wl_display* display) : display_(display) {}

    /** True while something that can't be seen here is on its way: a display server starts, or
     * sent us something. */
    void set_busy_probe(std::function<bool()> probe) { busy_ = std::move(probe); }

    /** Sends what is there for clients, and tells whether one of them has sent what was not read
     * yet. Never waits. */
    bool pending();

    /**
     * Another time that nothing of the game runs. True once nothing was pending in two rounds of
     * the loop since somebody ran: an X server, its window manager and the idle work of both of us
     * must be left to the loop, which waits for their turns. `quiescence` is another one each time
     * that somebody ran; `looped`: the loop has come round since it was asked to.
     */
    bool count_quiet_round(uint64_t quiescence, bool looped);

private:
    wl_display* display_;
    std::function<bool()> busy_;
    std::vector<pollfd> polled_;  // kept for its memory
    int quiet_rounds_ = 0;
    uint64_t quiescence_ = 0;  // that they are about
};

}  // namespace stepscope
