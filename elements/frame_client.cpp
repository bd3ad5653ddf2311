// SPDX-License-Identifier: LGPL-2.1-or-later
#include "frame_client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <format>

#include "base/unix_socket.hpp"

namespace stepscope {

FrameClient::FrameClient(UniqueFd socket)
    : socket_(std::move(socket)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Result<std::shared_ptr<FrameClient>> FrameClient::connect(const std::string& path, UniqueFd fd,
                                                          const wire::Hello& hello,
                                                          std::chrono::milliseconds timeout) {
    UniqueFd socket = std::move(fd);
    if (!socket) {
        auto connected = connect_unix(path, SocketKind::packets);
        if (!connected) {
            return std::unexpected(connected.error());
        }
        socket = std::move(*connected);
    }
    auto peer = peer_credentials(socket.get());
    if (!peer) {
        return std::unexpected(peer.error());
    }
    if (peer->uid != ::geteuid()) {
        return fail(Fault::permission,
                    std::format("the producer at '{}' (pid {}) belongs to user {}", path, peer->pid,
                                peer->uid));
    }
    if (::fcntl(socket.get(), F_SETFL, O_NONBLOCK) < 0) {
        return fail_errno("can't use the frame socket without blocking");
    }
    std::shared_ptr<FrameClient> client(new FrameClient(std::move(socket)));
    if (auto greeted = client->greet(hello, timeout); !greeted) {
        return std::unexpected(greeted.error());
    }
    return client;
}

Result<void> FrameClient::greet(const wire::Hello& hello, std::chrono::milliseconds timeout) {
    send({hello});
    const auto deadline = Clock::now() + timeout;
    while (Clock::now() < deadline) {
        auto event = next(deadline);
        if (!event) {
            return std::unexpected(event.error());
        }
        if (!*event) {
            continue;
        }
        if (const auto* welcome = std::get_if<wire::Welcome>(&(*event)->message)) {
            welcome_ = *welcome;
            return {};
        }
    }
    return fail(Fault::gone, std::format("the producer does not answer for {} ms; is it stopped?",
                                         timeout.count()));
}

Result<std::optional<FrameEvent>> FrameClient::next(std::optional<Clock::time_point> deadline) {
    for (;;) {
        if (!events_.empty()) {
            FrameEvent event = std::move(events_.front());
            events_.pop_front();
            if (const auto* failure = std::get_if<wire::Failure>(&event.message)) {
                const Fault fault =
                    failure->code == wire::code_busy         ? Fault::busy
                    : failure->code == wire::code_permission ? Fault::permission
                    : failure->code == wire::code_version || failure->code == wire::code_unsupported
                        ? Fault::unsupported
                        : Fault::gone;
                return fail(fault,
                            std::format("the producer ended the connection: {}", failure->text));
            }
            return std::optional(std::move(event));
        }
        auto received = receive();
        if (!received) {
            return std::unexpected(received.error());
        }
        if (*received) {
            continue;
        }
        int timeout = -1;
        if (deadline) {
            timeout = static_cast<int>(std::max<int64_t>(
                0, std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count()));
        }
        bool waiting = false;
        {
            std::lock_guard lock(mutex_);
            waiting = !outgoing_.empty();
        }
        const auto events = static_cast<short>(POLLIN | (waiting ? POLLOUT : 0));
        std::array<pollfd, 2> fds{{{.fd = socket_.get(), .events = events, .revents = 0},
                                   {.fd = wake_.get(), .events = POLLIN, .revents = 0}}};
        const int count = ::poll(fds.data(), fds.size(), timeout);
        if (count < 0 && errno != EINTR) {
            return fail_errno("can't wait for the frame socket");
        }
        if (count == 0) {
            return std::nullopt;
        }
        if ((fds[0].revents & POLLOUT) != 0) {
            flush();
        }
        if ((fds[1].revents & POLLIN) != 0) {
            eventfd_t ignored = 0;
            eventfd_read(wake_.get(), &ignored);
            return std::nullopt;
        }
    }
}

Result<bool> FrameClient::receive() {
    auto packet = receive_packet(socket_.get(), wire::kMaxPacket, wire::kMaxPacketFds);
    if (!packet) {
        return fail(packet.error().fault, packet.error().fault == Fault::gone
                                              ? "the producer of the frames went away"
                                              : packet.error().message);
    }
    if (!*packet) {
        return false;
    }
    std::vector<UniqueFd>& fds = (*packet)->fds;
    auto messages = wire::decode((*packet)->bytes, fds.size());
    if (!messages) {
        send({wire::Failure{wire::code_malformed, messages.error().message}});
        return fail(Fault::protocol, std::format("the producer sent {}", messages.error().message));
    }
    for (wire::Received& received : *messages) {
        FrameEvent event{std::move(received.message), {}};
        for (size_t index = 0; index < received.fds; ++index) {
            event.fds.push_back(std::move(fds[received.first_fd + index]));
        }
        events_.push_back(std::move(event));
    }
    return true;
}

void FrameClient::send(const std::vector<wire::Message>& messages, UniqueFd fence) {
    wire::PacketWriter packet;
    for (size_t index = 0; index < messages.size(); ++index) {
        packet.add(messages[index], index + 1 == messages.size() && fence ? 1 : 0);
    }
    std::lock_guard lock(mutex_);
    if (closed_) {
        return;
    }
    if (outgoing_.empty()) {
        const int fd = fence.get();
        // A connection that is broken shows in next().
        if (send_packet(socket_.get(), packet.bytes(), std::span(&fd, fence ? 1 : 0)) != false) {
            return;
        }
    }
    outgoing_.push_back({packet.take(), std::move(fence)});
    eventfd_write(wake_.get(), 1);
}

void FrameClient::flush() {
    std::lock_guard lock(mutex_);
    while (!outgoing_.empty()) {
        const Outgoing& first = outgoing_.front();
        const int fd = first.fence.get();
        if (send_packet(socket_.get(), first.bytes, std::span(&fd, first.fence ? 1 : 0)) == false) {
            return;
        }
        outgoing_.pop_front();
    }
}

void FrameClient::wake() {
    eventfd_write(wake_.get(), 1);
}

void FrameClient::close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    outgoing_.clear();
    ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace stepscope
