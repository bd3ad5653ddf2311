// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** What a SOCK_SEQPACKET socket delivered at once. */
struct Packet {
    std::vector<std::byte> bytes;
    std::vector<UniqueFd> fds;  // close-on-exec
};

/**
 * Sends a packet with descriptors, which stay the caller's, without blocking. False if the peer
 * must read first. Fault::gone if there is no peer any more.
 */
Result<bool> send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> fds);

/**
 * The next packet, without blocking; nothing if there is none yet. Fault::gone at the end of the
 * connection, Fault::protocol if there are more than `max_bytes` or `max_fds` in it.
 */
Result<std::optional<Packet>> receive_packet(int socket, size_t max_bytes, size_t max_fds);

}  // namespace stepscope
