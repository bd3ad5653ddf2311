// SPDX-License-Identifier: LGPL-2.1-or-later
#include "unix_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <format>

namespace stepscope {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(address.sun_path)) {
        return fail(Fault::usage,
                    std::format("socket path '{}' has {} bytes; 1 to {} are possible, choose a "
                                "shorter one",
                                path, path.size(), sizeof(address.sun_path) - 1));
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

UniqueFd make_socket(SocketKind kind, int flags) {
    const int type = kind == SocketKind::stream ? SOCK_STREAM : SOCK_SEQPACKET;
    return UniqueFd(::socket(AF_UNIX, type | SOCK_CLOEXEC | flags, 0));
}

bool try_connect(int socket, const sockaddr_un& address) {
    int result = 0;
    do {
        result = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    } while (result < 0 && errno == EINTR);
    return result == 0;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::string& path, int backlog, SocketKind kind) {
    auto address = address_of(path);
    if (!address) {
        return std::unexpected(address.error());
    }
    UniqueFd socket = make_socket(kind, SOCK_NONBLOCK);
    if (!socket) {
        return fail_errno("can't create a socket");
    }
    const auto* raw = reinterpret_cast<const sockaddr*>(&*address);
    if (::bind(socket.get(), raw, sizeof(*address)) < 0) {
        if (errno == ENOENT) {
            return fail(Fault::not_found,
                        std::format("there is no folder for the socket '{}'; make it, or choose "
                                    "another path",
                                    path));
        }
        if (errno != EADDRINUSE) {
            return fail_errno(std::format("can't bind '{}'", path));
        }
        // Without blocking: whoever listens and does not accept is there, too.
        UniqueFd probe = make_socket(kind, SOCK_NONBLOCK);
        if (probe && (try_connect(probe.get(), *address) || errno != ECONNREFUSED)) {
            return fail(Fault::busy, std::format("'{}' is in use by another process", path));
        }
        struct stat status{};
        if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
            return fail(Fault::busy,
                        std::format("'{}' is a file that is no socket; choose another path", path));
        }
        ::unlink(path.c_str());
        if (::bind(socket.get(), raw, sizeof(*address)) < 0) {
            return fail_errno(std::format("can't bind '{}'", path));
        }
    }
    if (::listen(socket.get(), backlog) < 0) {
        return fail_errno(std::format("can't listen at '{}'", path));
    }
    return socket;
}

Result<UniqueFd> connect_unix(const std::string& path, SocketKind kind) {
    auto address = address_of(path);
    if (!address) {
        return std::unexpected(address.error());
    }
    UniqueFd socket = make_socket(kind, 0);
    if (!socket) {
        return fail_errno("can't create a socket");
    }
    if (!try_connect(socket.get(), *address)) {
        return fail_errno(std::format("can't connect to '{}'", path));
    }
    return socket;
}

Result<PeerCredentials> peer_credentials(int socket) {
    ucred credentials{};
    socklen_t length = sizeof(credentials);
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) {
        return fail_errno("can't read the peer's credentials");
    }
    return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace stepscope
