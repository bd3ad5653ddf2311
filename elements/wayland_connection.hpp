// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-client.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/unique_fd.hpp"

namespace stepscope {

/**
 * A connection to a Wayland compositor, with an event queue of its own and waits that another
 * thread can end.
 *
 * One thread at a time waits and dispatches; wake(), flush() and requests on the objects are for
 * any thread. Destroying it closes the connection; objects made from it must be gone before.
 */
class WaylandConnection {
public:
    using Clock = std::chrono::steady_clock;

    /** `peer` names the compositor in errors, as in "the compositor of PEER went away". */
    static Result<std::unique_ptr<WaylandConnection>> create(UniqueFd socket, std::string peer);
    ~WaylandConnection();
    WaylandConnection(const WaylandConnection&) = delete;
    WaylandConnection& operator=(const WaylandConnection&) = delete;

    /** The caller destroys it; its objects are on this connection's queue. */
    wl_registry* get_registry();

    /**
     * Sends what is queued, waits for events, a wake() or the deadline, whichever is first, and
     * dispatches. Without a deadline it may wait for ever. An error stays: the connection is dead.
     */
    Result<void> wait(std::optional<Clock::time_point> deadline);

    /** Dispatches until the compositor has handled all requests so far. */
    Result<void> roundtrip(std::chrono::milliseconds timeout);

    /** Makes the current or next wait() return. */
    void wake() const;

    /** Sends queued requests, never blocks; false if the socket is full and some are left. */
    bool flush() const;

    /** For handlers of events: the next wait() ends with this error. */
    void fail_with(Error error);

    const std::string& peer() const { return peer_; }

    /** True once the compositor has ended the connection with this error of a protocol. */
    bool ended_with(const wl_interface* interface, uint32_t code) const;

private:
    WaylandConnection(std::string peer, UniqueFd wake_fd);
    wl_callback* sync();
    Result<void> check() const;
    Error connection_error() const;

    const std::string peer_;
    UniqueFd wake_fd_;
    wl_display* display_ = nullptr;
    wl_event_queue* queue_ = nullptr;
    std::optional<Error> error_;  // of the dispatching thread
};

}  // namespace stepscope
