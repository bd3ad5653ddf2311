// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/refresh_rate.hpp"
#include "base/session_registry.hpp"
#include "wayland_connection.hpp"

struct stepscope_control_v1;
struct stepscope_session_v1;
struct stepscope_capture_v1;
struct stepscope_sound_v1;
struct stepscope_stepper_v1;
struct stepscope_gamepad_v1;
struct zwp_virtual_keyboard_manager_v1;
struct zwlr_virtual_pointer_manager_v1;

namespace stepscope {

/** How the game ended; the values of the protocol's enum, and one of another compositor's output.
 */
struct SessionEnd {
    enum class How : uint32_t { exited = 1, signaled = 2, not_started = 3, output_gone = 100 };
    How how = How::exited;
    uint32_t value = 0;  // exit status, signal number or errno
};

/** What the compositor last said of the session. */
struct SessionState {
    std::string renderer;
    std::string device;
    uint32_t width = 0;
    uint32_t height = 0;
    RefreshRate refresh{0, 1};
    std::optional<SessionEnd> end;
};

/**
 * A connection to a session's control display, with an event queue of its own.
 *
 * One thread at a time waits and dispatches; wake(), flush(), state() and requests on the objects
 * are for any thread. Destroying it, on any thread, closes the connection; objects that were made
 * from it must be gone before.
 */
class ControlClient {
public:
    using Clock = WaylandConnection::Clock;

    /** Connects and waits until the session's state is known, at most for `timeout`. */
    static Result<std::shared_ptr<ControlClient>> connect(const SessionInfo& session,
                                                          std::chrono::milliseconds timeout);
    /** The same by its name; an empty one is the only session that runs. */
    static Result<std::shared_ptr<ControlClient>> connect(const std::string& session,
                                                          std::chrono::milliseconds timeout);
    ~ControlClient();
    ControlClient(const ControlClient&) = delete;
    ControlClient& operator=(const ControlClient&) = delete;

    // As WaylandConnection's.
    Result<void> wait(std::optional<Clock::time_point> deadline);
    Result<void> roundtrip(std::chrono::milliseconds timeout);
    void wake() const { connection_->wake(); }
    bool flush() const { return connection_->flush(); }
    void fail_with(Error error) { connection_->fail_with(std::move(error)); }

    /** Asks for a size of the output; the rate is kept. */
    void set_output_size(uint32_t width, uint32_t height);

    /** A capture on this connection's queue; the caller destroys it. */
    stepscope_capture_v1* create_capture();

    /**
     * The session's stepper, on this connection's queue; the caller destroys it. Where another
     * consumer has it, the next roundtrip() says so and the connection is dead.
     */
    Result<stepscope_stepper_v1*> create_stepper();

    /** The session's sound in virtual time, on this connection's queue; the caller destroys it. */
    Result<stepscope_sound_v1*> create_sound();
    /** How many gamepads the session has. */
    uint32_t gamepads() const { return gamepads_; }
    /** One of them, on this connection's queue; the caller destroys it. `number` is less than
     * gamepads(). */
    stepscope_gamepad_v1* create_gamepad(uint32_t number);

    SessionState state() const;
    RefreshRate refresh() const;
    std::optional<SessionEnd> end() const;
    const std::string& name() const { return name_; }
    pid_t pid() const { return pid_; }
    /** Whether its time stands still until somebody steps it. */
    bool in_lockstep() const;

    /** Globals for input; may be null where the compositor has none. They belong to this object. */
    wl_seat* seat() const { return seat_; }
    zwp_virtual_keyboard_manager_v1* keyboard_manager() const { return keyboard_manager_; }
    zwlr_virtual_pointer_manager_v1* pointer_manager() const { return pointer_manager_; }

private:
    ControlClient(const SessionInfo& session, std::unique_ptr<WaylandConnection> connection);
    Result<void> bind_session(std::chrono::milliseconds timeout);
    Result<void> with_busy_stepper(Result<void> result) const;

    struct Listeners;

    const std::string name_;
    const pid_t pid_;
    const std::unique_ptr<WaylandConnection> connection_;
    wl_registry* registry_ = nullptr;
    wl_seat* seat_ = nullptr;
    stepscope_control_v1* control_ = nullptr;
    stepscope_session_v1* session_ = nullptr;
    zwp_virtual_keyboard_manager_v1* keyboard_manager_ = nullptr;
    zwlr_virtual_pointer_manager_v1* pointer_manager_ = nullptr;

    uint32_t capabilities_ = 0;
    uint32_t gamepads_ = 0;
    bool session_known_ = false;
    SessionState pending_;  // of the dispatching thread, until done
    mutable std::mutex mutex_;
    SessionState state_;
};

}  // namespace stepscope
