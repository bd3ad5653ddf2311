// SPDX-License-Identifier: LGPL-2.1-or-later
#include "wayland_connection.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <format>
#include <utility>

namespace stepscope {
namespace {

void handle_synced(void* data, wl_callback*, uint32_t) {
    *static_cast<bool*>(data) = true;
}

constexpr wl_callback_listener kSyncListener{handle_synced};

}  // namespace

WaylandConnection::WaylandConnection(std::string peer, UniqueFd wake_fd)
    : peer_(std::move(peer)), wake_fd_(std::move(wake_fd)) {}

WaylandConnection::~WaylandConnection() {
    if (queue_ != nullptr) {
        wl_event_queue_destroy(queue_);
    }
    if (display_ != nullptr) {
        wl_display_disconnect(display_);
    }
}

Result<std::unique_ptr<WaylandConnection>> WaylandConnection::create(UniqueFd socket,
                                                                     std::string peer) {
    UniqueFd wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_fd) {
        return fail_errno("can't create an eventfd");
    }
    std::unique_ptr<WaylandConnection> connection(
        new WaylandConnection(std::move(peer), std::move(wake_fd)));
    // Takes the descriptor even where it fails.
    connection->display_ = wl_display_connect_to_fd(socket.take());
    if (connection->display_ == nullptr) {
        return fail_errno("can't set the connection to the compositor up");
    }
    connection->queue_ = wl_display_create_queue_with_name(connection->display_, "stepscope");
    return connection;
}

wl_registry* WaylandConnection::get_registry() {
    auto* wrapper = static_cast<wl_display*>(wl_proxy_create_wrapper(display_));
    wl_proxy_set_queue(reinterpret_cast<wl_proxy*>(wrapper), queue_);
    wl_registry* registry = wl_display_get_registry(wrapper);
    wl_proxy_wrapper_destroy(wrapper);
    return registry;
}

wl_callback* WaylandConnection::sync() {
    auto* wrapper = static_cast<wl_display*>(wl_proxy_create_wrapper(display_));
    wl_proxy_set_queue(reinterpret_cast<wl_proxy*>(wrapper), queue_);
    wl_callback* callback = wl_display_sync(wrapper);
    wl_proxy_wrapper_destroy(wrapper);
    return callback;
}

bool WaylandConnection::ended_with(const wl_interface* interface, uint32_t code) const {
    const wl_interface* of = nullptr;
    uint32_t id = 0;
    return wl_display_get_error(display_) == EPROTO &&
           wl_display_get_protocol_error(display_, &of, &id) == code && of == interface;
}

Error WaylandConnection::connection_error() const {
    const int error = wl_display_get_error(display_);
    if (error == EPROTO) {
        const wl_interface* interface = nullptr;
        uint32_t id = 0;
        const uint32_t code = wl_display_get_protocol_error(display_, &interface, &id);
        return {Fault::protocol,
                std::format("the compositor of {} ended the connection with error {} of {}", peer_,
                            code, interface != nullptr ? interface->name : "wl_display"),
                0};
    }
    if (error == EINVAL || error == ENOMEM) {
        return {Fault::protocol,
                std::format("the compositor of {} sent a malformed message", peer_), 0};
    }
    return {Fault::gone, std::format("the compositor of {} went away", peer_), 0};
}

Result<void> WaylandConnection::check() const {
    if (error_) {
        return std::unexpected(*error_);
    }
    if (wl_display_get_error(display_) != 0) {
        return std::unexpected(connection_error());
    }
    return {};
}

Result<void> WaylandConnection::wait(std::optional<Clock::time_point> deadline) {
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

Result<void> WaylandConnection::roundtrip(std::chrono::milliseconds timeout) {
    bool synced = false;
    wl_callback* callback = sync();
    wl_callback_add_listener(callback, &kSyncListener, &synced);
    const auto deadline = Clock::now() + timeout;
    Result<void> result;
    while (result && !synced) {
        if (Clock::now() >= deadline) {
            result =
                fail(Fault::gone,
                     std::format("the compositor of {} does not answer; is it stopped?", peer_));
            break;
        }
        result = wait(deadline);
    }
    wl_callback_destroy(callback);
    return result;
}

void WaylandConnection::wake() const {
    eventfd_write(wake_fd_.get(), 1);
}

bool WaylandConnection::flush() const {
    // Writing to a peer that has closed resets the connection, and what it said last, such as how
    // the game ended, would be lost.
    pollfd peer{wl_display_get_fd(display_), 0, 0};
    if (::poll(&peer, 1, 0) > 0 && (peer.revents & POLLHUP) != 0) {
        return true;
    }
    return wl_display_flush(display_) >= 0 || errno != EAGAIN;
}

void WaylandConnection::fail_with(Error error) {
    if (!error_) {
        error_ = std::move(error);
    }
}

}  // namespace stepscope
