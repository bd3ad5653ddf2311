// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "clock_program.hpp"

/** Scenarios with descriptors: pipes that are full, requests, X servers. */
namespace {

/** Who writes waits for a reader that looks once a millisecond: to a pipe and a connection, in the
 * ways there are. A line for each: how much arrived, and how long the writer took. */
void full_pipes() {
    using Write = ssize_t (*)(int, char*, size_t);
    const std::pair<const char*, Write> ways[] = {
        {"write", [](int fd, char* data, size_t size) { return ::write(fd, data, size); }},
        {"writev",
         [](int fd, char* data, size_t size) {
             const iovec parts[] = {{data, size / 2}, {data + size / 2, size - size / 2}};
             return ::writev(fd, parts, 2);
         }},
        {"small",
         [](int fd, char* data, size_t size) {
             size_t done = 0;
             while (done < size && ::write(fd, data + done, 64) == 64) {
                 done += 64;
             }
             return static_cast<ssize_t>(done);
         }},
        {"send", [](int fd, char* data, size_t size) { return ::send(fd, data, size, 0); }},
        {"sendto",
         [](int fd, char* data, size_t size) { return ::sendto(fd, data, size, 0, nullptr, 0); }},
        {"sendmsg",
         [](int fd, char* data, size_t size) {
             iovec part{data, size};
             msghdr message{};
             message.msg_iov = &part;
             message.msg_iovlen = 1;
             return ::sendmsg(fd, &message, 0);
         }},
    };
    for (const auto& [name, write] : ways) {
        int ends[2];
        const bool connection = std::string_view(name).starts_with("send");
        if ((connection ? ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : ::pipe(ends)) != 0) {
            return;
        }
        std::vector<char> much(1 << 20);
        const int64_t begun = monotonic_ns();
        size_t taken = 0;
        std::thread reader([&] {
            std::vector<char> place(1 << 16);
            while (taken < much.size()) {
                ::usleep(1'000);
                taken += static_cast<size_t>(::read(ends[0], place.data(), place.size()));
            }
        });
        const bool whole = write(ends[1], much.data(), much.size()) == 1 << 20;
        const int64_t took = monotonic_ns() - begun;
        reader.join();
        ::close(ends[0]);
        ::close(ends[1]);
        report(name, whole ? static_cast<long>(taken) : -1, took);
    }
}

void polls() {
    int ends[2];
    (void)!::pipe(ends);
    pollfd one{ends[0], POLLIN, 0};
    for (int i = 0; i < 2'000; ++i) {
        ::poll(&one, 1, 1);
    }
}

/** Waits for its parent; used with a compositor's part played by the test. */
void request_and_reply() {
    for (int i = 0; i < 20; ++i) {
        std::printf("request %d 0\n", i);
        std::fflush(stdout);
        pollfd one{STDIN_FILENO, POLLIN, 0};
        const int64_t start = monotonic_ns();
        const int ready = ::poll(&one, 1, 100);
        char byte = 0;
        if (ready == 1) {
            (void)!::read(STDIN_FILENO, &byte, 1);
        }
        report("reply", ready, monotonic_ns() - start);
    }
}

/** Connects to the X server that the test plays, named after the process. */
void connect_to_x11(int connection) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "/tmp/.X11-unix/X" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, name.size());
    (void)!::read(STDIN_FILENO, address.sun_path, 1);  // the server is there: a zero
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    report("connect", ::connect(connection, reinterpret_cast<sockaddr*>(&address), size), 0);
}

/** From now on the compositor is asked before time moves. */
void wait_for_what_never_comes() {
    std::thread([] {
        char byte = 0;
        (void)!::read(STDIN_FILENO, &byte, 1);
    }).detach();
}

/** Gives its connection to another program, which watches it. */
void x11_watcher() {
    constexpr int kGiven = 100;
    pollfd one{kGiven, POLLIN, 0};
    if (::fcntl(kGiven, F_GETFD) < 0) {
        const int connection = ::socket(AF_UNIX, SOCK_STREAM, 0);
        connect_to_x11(connection);
        ::dup2(connection, kGiven);
        std::fflush(stdout);
        ::execl("/proc/self/exe", "clock_program", "x11_watcher", nullptr);
        return;
    }
    wait_for_what_never_comes();
    measure("look", [&] { return ::poll(&one, 1, 0); });
    measure("wait", [&] { return ::poll(&one, 1, -1); });
    std::fflush(stdout);
    ::_exit(0);
}

/** A client of the X server. `waiter` makes of the connection what waits for it, with a timeout in
 * milliseconds. */
template <typename Waiter>
void x11_client(Waiter waiter) {
    // Numbers are used again: what was known of this one before does not count.
    const int fd = ::open("/dev/null", O_RDONLY);
    pollfd one{fd, POLLIN, 0};
    ::poll(&one, 1, 0);
    const int connection = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connection < 0) {
        report("connect", -1, 0);
        return;
    }
    connect_to_x11(connection);
    ::dup2(connection, fd);
    wait_for_what_never_comes();
    const auto wait = waiter(fd);
    char bytes[16];
    const auto receive = [&](int flags) { return ::recv(fd, bytes, sizeof bytes, flags); };
    measure("look", [&] { return wait(0); });
    measure("receive", [&] { return receive(MSG_DONTWAIT); });
    measure("receive", [&] { return receive(MSG_DONTWAIT); });
    measure("wait", [&] { return wait(-1); });
    measure("receive", [&] { return receive(0); });
    measure("receive", [&] { return receive(0); });
    std::fflush(stdout);
    ::_exit(0);
}

void x11_client_poll() {
    x11_client([](int fd) {
        return [fd](int timeout_ms) {
            pollfd one{fd, POLLIN, 0};
            return ::poll(&one, 1, timeout_ms);
        };
    });
}

void x11_client_select() {
    x11_client([](int fd) {
        return [fd](int timeout_ms) {
            fd_set one;
            FD_ZERO(&one);
            FD_SET(fd, &one);
            timeval timeout{};
            timeout.tv_sec = timeout_ms / 1000;
            timeout.tv_usec = decltype(timeout.tv_usec){timeout_ms % 1000} * 1000;
            return ::select(fd + 1, &one, nullptr, nullptr, timeout_ms < 0 ? nullptr : &timeout);
        };
    });
}

/** `events` once each, as the X server makes them. */
int epoll_of(int fd, uint32_t events) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = events;
    return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? epoll : -1;
}

int wait_in(int epoll, int timeout_ms) {
    epoll_event event;
    return ::epoll_wait(epoll, &event, 1, timeout_ms);
}

void x11_client_epoll() {
    x11_client([](int fd) {
        // Numbers are used again: what was waited for with this one before does not count.
        ::close(epoll_of(fd, EPOLLIN | EPOLLOUT));
        const int epoll = epoll_of(fd, EPOLLIN | EPOLLET);
        return [epoll](int timeout_ms) { return wait_in(epoll, timeout_ms); };
    });
}

void x11_client_epoll_in_epoll() {
    x11_client([](int fd) {
        const int inner = epoll_of(fd, EPOLLIN);
        const int outer = epoll_of(inner, EPOLLIN);
        return [inner, outer](int timeout_ms) {
            return wait_in(outer, timeout_ms) == 1 ? wait_in(inner, 0) : 0;
        };
    });
}

void close_everything() {
    pollfd none{-1, 0, 0};
    ::poll(&none, 1, 1);  // the library has descriptors of its own for this
    ::closefrom(3);
    for (int fd = 3; fd < 1024; ++fd) {
        ::close(fd);
    }
    measure("sleep", [] { return ::usleep(10'000); });
    measure("poll", [&] { return ::poll(&none, 1, 7); });
}

}  // namespace

bool run_descriptor_scenario(const std::string& name) {
    static constexpr Scenario kScenarios[] = {
        {"full_pipes", full_pipes},
        {"polls", polls},
        {"request_and_reply", request_and_reply},
        {"x11_watcher", x11_watcher},
        {"x11_client_poll", x11_client_poll},
        {"x11_client_select", x11_client_select},
        {"x11_client_epoll", x11_client_epoll},
        {"x11_client_epoll_in_epoll", x11_client_epoll_in_epoll},
        {"close_everything", close_everything}};
    return run_scenario(kScenarios, name);
}
