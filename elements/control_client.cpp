// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control_client.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <format>

#include "base/unix_socket.hpp"
#include "stepscope-control-v1-client-protocol.h"
#include "virtual-keyboard-unstable-v1-client-protocol.h"
#include "wlr-virtual-pointer-unstable-v1-client-protocol.h"

namespace stepscope {

struct ControlClient::Listeners {
    static ControlClient& self(void* data) { return *static_cast<ControlClient*>(data); }

    // Each global, once at the start; later ones are of no interest.
    static void global(void* data, wl_registry* registry, uint32_t id, const char* interface,
                       uint32_t version) {
        ControlClient& client = self(data);
        auto bind = [&](auto*& object, const wl_interface& type, uint32_t wanted) {
            if (object == nullptr && std::strcmp(interface, type.name) == 0) {
                object = static_cast<std::remove_reference_t<decltype(object)>>(
                    wl_registry_bind(registry, id, &type, std::min(version, wanted)));
            }
        };
        bind(client.control_, stepscope_control_v1_interface, 1);
        bind(client.seat_, wl_seat_interface, 1);
        bind(client.keyboard_manager_, zwp_virtual_keyboard_manager_v1_interface, 1);
        bind(client.pointer_manager_, zwlr_virtual_pointer_manager_v1_interface, 1);
    }
    static void global_remove(void*, wl_registry*, uint32_t) {}

    static void capabilities(void* data, stepscope_control_v1*, uint32_t capabilities) {
        self(data).capabilities_ = capabilities;
    }

    static void info(void* data, stepscope_session_v1*, const char*, uint32_t, const char* renderer,
                     const char* device) {
        self(data).pending_.renderer = renderer;
        self(data).pending_.device = device;
    }
    static void output(void* data, stepscope_session_v1*, uint32_t width, uint32_t height,
                       uint32_t numerator, uint32_t denominator) {
        SessionState& state = self(data).pending_;
        RefreshRate rate{numerator, denominator};
        if (width == 0 || height == 0 || width > INT32_MAX || height > INT32_MAX ||
            !valid_refresh_rate(rate)) {
            self(data).fail_with(
                {Fault::protocol, std::format("the compositor described an output of {}x{} pixels "
                                              "at {}/{} Hz, which can't be",
                                              width, height, numerator, denominator)});
            return;
        }
        state.width = width;
        state.height = height;
        state.refresh = rate;
    }
    static void window(void*, stepscope_session_v1*, const char*, const char*, const char*,
                       uint32_t) {}
    static void ended(void* data, stepscope_session_v1*, uint32_t how, uint32_t value) {
        ControlClient& client = self(data);
        client.pending_.end = SessionEnd{static_cast<SessionEnd::How>(how), value};
        // It may be the last thing that the compositor says: do not wait for done.
        std::lock_guard lock(client.mutex_);
        client.state_.end = client.pending_.end;
    }
    static void done(void* data, stepscope_session_v1*) {
        ControlClient& client = self(data);
        client.session_known_ = true;
        std::lock_guard lock(client.mutex_);
        client.state_ = client.pending_;
    }

    static void synced(void* data, wl_callback*, uint32_t) { *static_cast<bool*>(data) = true; }

    static constexpr wl_registry_listener registry{global, global_remove};
    static constexpr stepscope_control_v1_listener control{capabilities};
    static constexpr stepscope_session_v1_listener session{info, output, window, ended, done};
    static constexpr wl_callback_listener sync{synced};
};

ControlClient::ControlClient(const SessionInfo& session, UniqueFd wake_fd)
    : name_(session.name), pid_(session.pid), wake_fd_(std::move(wake_fd)) {}

ControlClient::~ControlClient() {
    auto destroy = [](auto*& object, auto* function) {
        if (object != nullptr) {
            function(object);
        }
    };
    destroy(pointer_manager_, zwlr_virtual_pointer_manager_v1_destroy);
    destroy(keyboard_manager_, zwp_virtual_keyboard_manager_v1_destroy);
    destroy(seat_, wl_seat_destroy);
    destroy(session_, stepscope_session_v1_destroy);
    destroy(control_, stepscope_control_v1_destroy);
    destroy(registry_, wl_registry_destroy);
    destroy(queue_, wl_event_queue_destroy);
    destroy(display_, wl_display_disconnect);
}

Result<std::shared_ptr<ControlClient>> ControlClient::connect(const SessionInfo& session,
                                                              std::chrono::milliseconds timeout) {
    UniqueFd wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_fd) {
        return fail_errno("can't create an eventfd");
    }
    std::shared_ptr<ControlClient> client(new ControlClient(session, std::move(wake_fd)));
    if (auto opened = client->open(session, timeout); !opened) {
        return std::unexpected(opened.error());
    }
    return client;
}

Result<void> ControlClient::open(const SessionInfo& session, std::chrono::milliseconds timeout) {
    auto socket = connect_unix(session.directory + "/control");
    if (!socket) {
        return std::unexpected(socket.error());
    }
    // Takes the descriptor even where it fails.
    display_ = wl_display_connect_to_fd(socket->take());
    if (display_ == nullptr) {
        return fail_errno("can't set the connection to the compositor up");
    }
    queue_ = wl_display_create_queue_with_name(display_, "stepscope");
    auto* wrapper = static_cast<wl_display*>(wl_proxy_create_wrapper(display_));
    wl_proxy_set_queue(reinterpret_cast<wl_proxy*>(wrapper), queue_);
    registry_ = wl_display_get_registry(wrapper);
    wl_proxy_wrapper_destroy(wrapper);
    wl_registry_add_listener(registry_, &Listeners::registry, this);
    if (auto known = roundtrip(timeout); !known) {
        return known;
    }
    return bind_session(timeout);
}

Result<void> ControlClient::bind_session(std::chrono::milliseconds timeout) {
    if (control_ == nullptr) {
        return fail(Fault::protocol,
                    std::format("session '{}' does not offer stepscope_control_v1; is its "
                                "compositor of the same version as this element?",
                                name_));
    }
    stepscope_control_v1_add_listener(control_, &Listeners::control, this);
    session_ = stepscope_control_v1_get_session(control_);
    stepscope_session_v1_add_listener(session_, &Listeners::session, this);
    if (auto known = roundtrip(timeout); !known) {
        return known;
    }
    if (!session_known_ || state_.width == 0) {
        return fail(Fault::protocol,
                    std::format("session '{}' did not describe its output", name_));
    }
    return {};
}

Error ControlClient::connection_error() const {
    int error = wl_display_get_error(display_);
    if (error == EPROTO) {
        const wl_interface* interface = nullptr;
        uint32_t id = 0;
        uint32_t code = wl_display_get_protocol_error(display_, &interface, &id);
        if (interface == &stepscope_control_v1_interface &&
            code == STEPSCOPE_CONTROL_V1_ERROR_STEPPER_TAKEN) {
            return {Fault::busy,
                    std::format("session '{}' (pid {}) is stepped by another consumer; only one "
                                "can at a time, so stop that one first",
                                name_, pid_),
                    0};
        }
        return {
            Fault::protocol,
            std::format("the compositor of session '{}' (pid {}) ended the connection with "
                        "error {} of {}",
                        name_, pid_, code, interface != nullptr ? interface->name : "wl_display"),
            0};
    }
    if (error == EINVAL || error == ENOMEM) {
        return {Fault::protocol,
                std::format("the compositor of session '{}' (pid {}) sent a malformed message",
                            name_, pid_),
                0};
    }
    return {Fault::gone,
            std::format("the compositor of session '{}' (pid {}) went away", name_, pid_), 0};
}

Result<void> ControlClient::check() const {
    if (error_) {
        return std::unexpected(*error_);
    }
    if (wl_display_get_error(display_) != 0) {
        return std::unexpected(connection_error());
    }
    return {};
}

Result<void> ControlClient::wait(std::optional<Clock::time_point> deadline) {
    if (auto alive = check(); !alive) {
        return alive;
    }
    if (wl_display_prepare_read_queue(display_, queue_) < 0) {
        wl_display_dispatch_queue_pending(display_, queue_);
        return check();
    }
    short display_events = POLLIN;
    if (!flush()) {
        display_events |= POLLOUT;
    }
    std::array<pollfd, 2> fds{pollfd{wl_display_get_fd(display_), display_events, 0},
                              pollfd{wake_fd_.get(), POLLIN, 0}};
    timespec timeout{};
    if (deadline) {
        auto left = std::max(std::chrono::nanoseconds{0},
                             std::chrono::nanoseconds(*deadline - Clock::now()));
        timeout.tv_sec = left.count() / 1'000'000'000;
        timeout.tv_nsec = left.count() % 1'000'000'000;
    }
    // A signal only makes this return early, which callers must expect anyway.
    int ready = ::ppoll(fds.data(), fds.size(), deadline ? &timeout : nullptr, nullptr);
    if (ready > 0 && (fds[1].revents & POLLIN) != 0) {
        eventfd_t ignored = 0;
        eventfd_read(wake_fd_.get(), &ignored);
    }
    if (ready > 0 && (fds[0].revents & ~POLLOUT) != 0) {
        wl_display_read_events(display_);
    } else {
        wl_display_cancel_read(display_);
    }
    wl_display_dispatch_queue_pending(display_, queue_);
    return check();
}

Result<void> ControlClient::roundtrip(std::chrono::milliseconds timeout) {
    bool synced = false;
    auto* wrapper = static_cast<wl_display*>(wl_proxy_create_wrapper(display_));
    wl_proxy_set_queue(reinterpret_cast<wl_proxy*>(wrapper), queue_);
    wl_callback* callback = wl_display_sync(wrapper);
    wl_proxy_wrapper_destroy(wrapper);
    wl_callback_add_listener(callback, &Listeners::sync, &synced);
    const auto deadline = Clock::now() + timeout;
    Result<void> result;
    while (result && !synced) {
        if (Clock::now() >= deadline) {
            result = fail(Fault::gone,
                          std::format("the compositor of session '{}' (pid {}) does not answer; is "
                                      "it stopped?",
                                      name_, pid_));
            break;
        }
        result = wait(deadline);
    }
    wl_callback_destroy(callback);
    return result;
}

void ControlClient::wake() const {
    eventfd_write(wake_fd_.get(), 1);
}

bool ControlClient::flush() const {
    // Writing to a peer that has closed resets the connection, and what it said last, such as how
    // the game ended, would be lost.
    pollfd peer{wl_display_get_fd(display_), 0, 0};
    if (::poll(&peer, 1, 0) > 0 && (peer.revents & POLLHUP) != 0) {
        return true;
    }
    return wl_display_flush(display_) >= 0 || errno != EAGAIN;
}

void ControlClient::set_output_size(uint32_t width, uint32_t height) {
    stepscope_session_v1_set_output(session_, width, height, 0, 0);
    flush();
}

stepscope_capture_v1* ControlClient::create_capture() {
    return stepscope_control_v1_create_capture(control_);
}

Result<stepscope_stepper_v1*> ControlClient::create_stepper() {
    if ((capabilities_ & STEPSCOPE_CONTROL_V1_CAPABILITY_LOCKSTEP) == 0) {
        return fail(Fault::unsupported,
                    std::format("session '{}' (pid {}) is not in lock-step; start it with: "
                                "stepscope --lockstep -- COMMAND, or use mode=live",
                                name_, pid_));
    }
    return stepscope_control_v1_get_stepper(control_);
}

SessionState ControlClient::state() const {
    std::lock_guard lock(mutex_);
    return state_;
}

RefreshRate ControlClient::refresh() const {
    std::lock_guard lock(mutex_);
    return state_.refresh;
}

std::optional<SessionEnd> ControlClient::end() const {
    std::lock_guard lock(mutex_);
    return state_.end;
}

void ControlClient::fail_with(Error error) {
    if (!error_) {
        error_ = std::move(error);
    }
}

}  // namespace stepscope
