// SPDX-License-Identifier: LGPL-2.1-or-later
#include "packet_socket.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <format>

namespace stepscope {
namespace {

constexpr size_t kMostFds = 64;

bool peer_is_gone(int os_errno) {
    return os_errno == EPIPE || os_errno == ECONNRESET || os_errno == ENOTCONN;
}

/** Owns what came in the control message. */
std::vector<UniqueFd> take_fds(msghdr& message) {
    std::vector<UniqueFd> fds;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < count; ++index) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
            fds.emplace_back(fd);
        }
    }
    return fds;
}

}  // namespace

Result<bool> send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMostFds * sizeof(int))> control{};
    iovec vector{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        const size_t size = std::min(fds.size(), kMostFds) * sizeof(int);
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(size);
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(size);
        std::memcpy(CMSG_DATA(header), fds.data(), size);
    }
    ssize_t sent = 0;
    do {
        sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return false;
    }
    if (peer_is_gone(errno)) {
        return fail(Fault::gone, "the other end closed the connection");
    }
    return fail_errno("can't send on the connection");
}

Result<std::optional<Packet>> receive_packet(int socket, size_t max_bytes, size_t max_fds) {
    // One more of each than there may be: then it shows that there were too many.
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMostFds * sizeof(int))> control{};
    Packet packet;
    packet.bytes.resize(max_bytes + 1);
    iovec vector{.iov_base = packet.bytes.data(), .iov_len = packet.bytes.size()};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(std::min(max_fds + 1, kMostFds) * sizeof(int));
    ssize_t got = 0;
    bool reset = false;
    for (;;) {
        got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        // A peer that closes before it has read everything makes this error, once, ahead of what it
        // said last: why it closes.
        if (got < 0 && errno == ECONNRESET && !std::exchange(reset, true)) {
            continue;
        }
        if (got >= 0 || errno != EINTR) {
            break;
        }
    }
    if (got < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return std::nullopt;
        }
        if (peer_is_gone(errno)) {
            return fail(Fault::gone, "the other end closed the connection");
        }
        return fail_errno("can't read from the connection");
    }
    packet.fds = take_fds(message);
    if ((message.msg_flags & MSG_CTRUNC) != 0 || packet.fds.size() > max_fds) {
        return fail(Fault::protocol,
                    std::format("a packet came with more than {} descriptors", max_fds));
    }
    if ((message.msg_flags & MSG_TRUNC) != 0 || static_cast<size_t>(got) > max_bytes) {
        return fail(Fault::protocol,
                    std::format("a packet came with more than {} bytes", max_bytes));
    }
    if (got == 0 && packet.fds.empty()) {
        // An empty packet looks just like the end; this protocol has none.
        return fail(Fault::gone, "the other end closed the connection");
    }
    packet.bytes.resize(static_cast<size_t>(got));
    return packet;
}

}  // namespace stepscope
