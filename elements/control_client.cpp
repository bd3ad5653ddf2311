// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control_client.hpp"

#include <algorithm>
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
        bind(client.control_, stepscope_control_v1_interface, 4);
        bind(client.seat_, wl_seat_interface, 1);
        bind(client.keyboard_manager_, zwp_virtual_keyboard_manager_v1_interface, 1);
        bind(client.pointer_manager_, zwlr_virtual_pointer_manager_v1_interface, 1);
    }
    static void global_remove(void*, wl_registry*, uint32_t) {}

    static void capabilities(void* data, stepscope_control_v1*, uint32_t capabilities) {
        self(data).capabilities_ = capabilities;
    }
    static void gamepads(void* data, stepscope_control_v1*, uint32_t count) {
        self(data).gamepads_ = count;
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

    static constexpr wl_registry_listener registry{global, global_remove};
    static constexpr stepscope_control_v1_listener control{capabilities, gamepads};
    static constexpr stepscope_session_v1_listener session{info, output, window, ended, done};
};

ControlClient::ControlClient(const SessionInfo& session,
                             std::unique_ptr<WaylandConnection> connection)
    : name_(session.name), pid_(session.pid), connection_(std::move(connection)) {}

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
}

Result<std::shared_ptr<ControlClient>> ControlClient::connect(const SessionInfo& session,
                                                              std::chrono::milliseconds timeout) {
    auto socket = connect_unix(session.directory + "/control");
    if (!socket) {
        return std::unexpected(socket.error());
    }
    auto connection = WaylandConnection::create(
        std::move(*socket), std::format("session '{}' (pid {})", session.name, session.pid));
    if (!connection) {
        return std::unexpected(connection.error());
    }
    std::shared_ptr<ControlClient> client(new ControlClient(session, std::move(*connection)));
    client->registry_ = client->connection_->get_registry();
    wl_registry_add_listener(client->registry_, &Listeners::registry, client.get());
    auto ready = client->roundtrip(timeout);
    if (ready) {
        ready = client->bind_session(timeout);
    }
    if (!ready) {
        return std::unexpected(ready.error());
    }
    return client;
}

Result<std::shared_ptr<ControlClient>> ControlClient::connect(const std::string& session,
                                                              std::chrono::milliseconds timeout) {
    auto found = find_session(session);
    if (!found) {
        return std::unexpected(found.error());
    }
    return connect(*found, timeout);
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

Result<void> ControlClient::with_busy_stepper(Result<void> result) const {
    if (!result && connection_->ended_with(&stepscope_control_v1_interface,
                                           STEPSCOPE_CONTROL_V1_ERROR_STEPPER_TAKEN)) {
        return fail(Fault::busy, std::format("{} is stepped by another consumer; only one can at a "
                                             "time, so stop that one first",
                                             connection_->peer()));
    }
    return result;
}

Result<void> ControlClient::wait(std::optional<Clock::time_point> deadline) {
    return with_busy_stepper(connection_->wait(deadline));
}

Result<void> ControlClient::roundtrip(std::chrono::milliseconds timeout) {
    return with_busy_stepper(connection_->roundtrip(timeout));
}

void ControlClient::set_output_size(uint32_t width, uint32_t height) {
    stepscope_session_v1_set_output(session_, width, height, 0, 0);
    flush();
}

stepscope_capture_v1* ControlClient::create_capture() {
    return stepscope_control_v1_create_capture(control_);
}

bool ControlClient::in_lockstep() const {
    return (capabilities_ & STEPSCOPE_CONTROL_V1_CAPABILITY_LOCKSTEP) != 0;
}

Result<stepscope_stepper_v1*> ControlClient::create_stepper() {
    if (!in_lockstep()) {
        return fail(Fault::unsupported,
                    std::format("session '{}' (pid {}) is not in lock-step; start it with: "
                                "stepscope --lockstep -- COMMAND, or use mode=live",
                                name_, pid_));
    }
    return stepscope_control_v1_get_stepper(control_);
}

Result<stepscope_sound_v1*> ControlClient::create_sound() {
    if ((capabilities_ & STEPSCOPE_CONTROL_V1_CAPABILITY_SOUND) == 0) {
        return fail(Fault::unsupported,
                    std::format("session '{}' (pid {}) has no sound in virtual time; start it "
                                "with: stepscope --lockstep --audio session -- COMMAND",
                                name_, pid_));
    }
    return stepscope_control_v1_get_sound(control_);
}

stepscope_gamepad_v1* ControlClient::create_gamepad(uint32_t number) {
    return stepscope_control_v1_get_gamepad(control_, number);
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

}  // namespace stepscope
