// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <deque>

#include "listener.hpp"

namespace stepscope {

/**
 * Keeps a surface from showing its next picture before the one it has was shown: commits that come
 * too early wait in the surface's queue, with their buffers, so that none is lost and the game runs
 * out of buffers instead of out of breath.
 */
class CommitGate {
public:
    CommitGate() = default;
    CommitGate(const CommitGate&) = delete;
    CommitGate& operator=(const CommitGate&) = delete;
    ~CommitGate() { open(); }

    /** Guards this surface from its next commit on, and no other; null guards none. Where its
     * client goes, what waits is let in: the last picture is the one to be seen. */
    void guard(wlr_surface* surface);
    /** The picture was shown: the next one may come. */
    void handle_shown();

private:
    struct Waiting {
        uint32_t sequence;
        bool picture;
    };

    void handle_commit_request();
    void open();

    wlr_surface* surface_ = nullptr;
    bool showing_ = false;         // a picture was let in and not shown yet
    std::deque<Waiting> waiting_;  // each locked in the surface's queue
    Listener client_commit_;
    Listener destroy_;
    Listener client_destroy_;
};

}  // namespace stepscope
