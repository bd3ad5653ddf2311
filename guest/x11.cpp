// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "local.hpp"

/** Connections to X servers, and the epoll instances that they are waited for with. */
namespace stepscope::guest {

namespace {

/** A connection to an X server, or another instance, in an epoll instance. Under the page's lock.
 */
struct Watched {
    int epoll = -1;
    int fd = -1;
    bool connection = false;
    uint32_t events = 0;
};
constexpr uint32_t kMaxWatched = 64;
constexpr int kMaxNesting = 5;  // the kernel's own limit
constinit Watched all_watched[kMaxWatched];
constinit std::atomic<uint32_t> watched_count = 0;

/** What is known of a descriptor: a game's main loop asks for the same ones in each frame. */
enum class Peer : uint8_t { unknown, x11, other };
constexpr int kMaxPeers = 4096;
constinit std::atomic<Peer> peers[kMaxPeers];
constinit std::atomic<bool> has_connected = false;

/** Nothing in there has the library's pipe, but only an instance of epoll says so. */
bool is_epoll(int fd) {
    return real::epoll_ctl(fd, EPOLL_CTL_DEL, process.notify_fd, nullptr) != 0 && errno == ENOENT;
}

Watched* find_watched(int epoll, int fd) {
    for (Watched& watched : all_watched) {
        if (watched.epoll == epoll && watched.fd == fd) {
            return &watched;
        }
    }
    return nullptr;
}

Peer find_peer(int fd) {
    static constexpr char kFolder[] = "/tmp/.X11-unix/";
    sockaddr_un address{};
    socklen_t size = sizeof address;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return errno == ENOTCONN || errno == EBADF ? Peer::unknown : Peer::other;
    }
    // Names outside the file system begin with a zero.
    const char* path = address.sun_path + (address.sun_path[0] == 0);
    return address.sun_family == AF_UNIX && ::strncmp(path, kFolder, sizeof kFolder - 1) == 0
               ? Peer::x11
               : Peer::other;
}

void drop(Watched& watched) {
    watched = {};
    watched_count.fetch_sub(1, std::memory_order_relaxed);
}

uint32_t events_of(int epoll, int nesting) {
    uint32_t events = 0;
    for (const Watched& watched : all_watched) {
        if (watched.epoll != epoll || !(watched.events & EPOLLIN)) {
            continue;
        }
        if (watched.connection) {
            events |= watched.events & (EPOLLIN | EPOLLOUT);
        } else if (nesting < kMaxNesting) {
            events |= events_of(watched.fd, nesting + 1);
        }
    }
    return events;
}

}  // namespace

void note_display_connection() {
    has_connected.store(true, std::memory_order_relaxed);
}

bool is_x11(int fd) {
    // Who was only given a connection watches it for its owner, as Wine's server does, and must not
    // keep everybody waiting for a turn.
    if (process.display_server || !has_connected.load(std::memory_order_relaxed)) {
        return false;
    }
    const bool known = fd >= 0 && fd < kMaxPeers;
    Peer peer = known ? peers[fd].load(std::memory_order_relaxed) : Peer::unknown;
    if (peer == Peer::unknown) {
        peer = find_peer(fd);
        if (known) {
            peers[fd].store(peer, std::memory_order_relaxed);
        }
    }
    return peer == Peer::x11;
}

short x11_events(int fd, short events) {
    if (fd < 0 || !(events & POLLIN)) {
        return 0;
    }
    if (watched_count.load(std::memory_order_relaxed) != 0) {
        Locked locked;
        if (const uint32_t inside = events_of(fd, 0)) {
            return static_cast<short>(inside);  // the same numbers as poll's
        }
    }
    return static_cast<short>(is_x11(fd) ? events & (POLLIN | POLLOUT) : 0);
}

void forget_x11_fd(int fd) {
    if (fd >= 0 && fd < kMaxPeers) {
        peers[fd].store(Peer::unknown, std::memory_order_relaxed);
    }
    if (watched_count.load(std::memory_order_relaxed) == 0) {
        return;
    }
    Locked locked;
    for (Watched& watched : all_watched) {
        if (watched.epoll >= 0 && (watched.fd == fd || watched.epoll == fd)) {
            drop(watched);
        }
    }
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
    const bool counts = current() && !process.display_server;
    const int result = real::epoll_ctl(epoll, operation, fd, event);
    if (!counts || result != 0) {
        return result;
    }
    const int saved_errno = errno;
    const bool adds = operation == EPOLL_CTL_ADD;
    const bool connection = adds && is_x11(fd);
    if (!adds || connection || is_epoll(fd)) {
        Locked locked;
        Watched* watched = adds ? find_watched(-1, -1) : find_watched(epoll, fd);
        if (watched && operation == EPOLL_CTL_DEL) {
            drop(*watched);
        } else if (watched && adds) {
            *watched = {epoll, fd, connection, event->events};
            watched_count.fetch_add(1, std::memory_order_relaxed);
        } else if (watched) {
            watched->events = event->events;
        }
    }
    errno = saved_errno;
    return result;
}
