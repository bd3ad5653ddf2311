// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <string>

#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** Whether bytes or packets flow; both are connections. */
enum class SocketKind { stream, packets };

/**
 * A non-blocking, close-on-exec listener at `path`. A path that is taken by a live listener, or by
 * a file that is no socket, is an error (busy); a socket that nobody listens at any more is taken
 * over.
 */
Result<UniqueFd> listen_unix(const std::string& path, int backlog = 16,
                             SocketKind kind = SocketKind::stream);

/** A blocking, close-on-exec connection to `path`. */
Result<UniqueFd> connect_unix(const std::string& path, SocketKind kind = SocketKind::stream);

struct PeerCredentials {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/** Who is at the other end (SO_PEERCRED), as of its connect. */
Result<PeerCredentials> peer_credentials(int socket);

}  // namespace stepscope
