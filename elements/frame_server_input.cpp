// SPDX-License-Identifier: LGPL-2.1-or-later
// The server's own thread: who connects, and what consumers say.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <format>

#include "base/packet_socket.hpp"
#include "base/unix_socket.hpp"
#include "frame_server_work.hpp"

namespace stepscope {
namespace {

constexpr uint64_t kListenerId = 1;
constexpr uint64_t kWakeId = 2;
constexpr std::chrono::seconds kHelloTimeout{5};
constexpr size_t kMaxKeptInputs = 4096;
/** Packets of one consumer before others have their turn. */
constexpr int kPacketsPerTurn = 32;
constexpr const char* kEnded = "the stream has ended; connect again for the next one";

bool is_listening(int socket) {
    int listening = 0;
    socklen_t size = sizeof(listening);
    return ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 &&
           listening != 0;
}

Result<void> check_kind(int socket) {
    int type = 0;
    socklen_t size = sizeof(type);
    if (::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
        return fail_errno("the inherited descriptor is no socket");
    }
    if (type != SOCK_SEQPACKET) {
        return fail(Fault::usage, "the inherited socket is not of type SOCK_SEQPACKET");
    }
    if (::fcntl(socket, F_SETFL, O_NONBLOCK) < 0) {
        return fail_errno("can't use the inherited socket without blocking");
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<FrameServer>> FrameServer::create(FrameServerSettings settings,
                                                         FrameServerHandler& handler) {
    std::unique_ptr<FrameServer> server(new FrameServer(std::move(settings), handler));
    if (auto started = server->start(); !started) {
        return std::unexpected(started.error());
    }
    return server;
}

Result<void> FrameServer::start() {
    epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    spare_ = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!epoll_ || !wake_ || !spare_) {
        return fail_errno("can't set a frame socket up");
    }
    watch(wake_.get(), kWakeId, EPOLLIN, EPOLL_CTL_ADD);
    if (settings_.fd) {
        UniqueFd socket = settings_.fd.duplicate();
        if (auto usable = check_kind(socket.get()); !usable) {
            return usable;
        }
        if (is_listening(socket.get())) {
            listener_ = std::move(socket);
        } else {
            add_connection(std::move(socket));
        }
    } else {
        auto listener = listen_unix(settings_.path, 64, SocketKind::packets);
        if (!listener) {
            return std::unexpected(listener.error());
        }
        listener_ = std::move(*listener);
        ::chmod(settings_.path.c_str(), 0600);
        struct stat status{};
        inode_ = ::lstat(settings_.path.c_str(), &status) == 0 ? status.st_ino : 0;
    }
    if (listener_) {
        watch(listener_.get(), kListenerId, EPOLLIN, EPOLL_CTL_ADD);
    }
    thread_ = std::thread([this] { run(); });
    return {};
}

void FrameServer::watch(int fd, uint64_t id, uint32_t events, int operation) {
    epoll_event event{.events = events, .data = {.u64 = id}};
    ::epoll_ctl(epoll_.get(), operation, fd, &event);
}

void FrameServer::run() {
    std::array<epoll_event, 32> events{};
    while (!stopping_) {
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                       static_cast<int>(until_next_deadline().count()));
        for (int index = 0; index < count; ++index) {
            const epoll_event& event = events[static_cast<size_t>(index)];
            const uint64_t id = event.data.u64;
            if (id == kListenerId) {
                accept_all();
            } else if (id == kWakeId) {
                eventfd_t ignored = 0;
                eventfd_read(wake_.get(), &ignored);
            } else {
                if ((event.events & EPOLLOUT) != 0) {
                    flush(id);
                }
                if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
                    read(id);
                    finish_draining(id);
                }
            }
        }
        drop_who_never_said_hello();
    }
    // Nobody may find a socket that is not listened at; nor may another's be removed.
    struct stat status{};
    if (inode_ != 0 && ::lstat(settings_.path.c_str(), &status) == 0 && status.st_ino == inode_) {
        ::unlink(settings_.path.c_str());
    }
    listener_.reset();
}

std::chrono::milliseconds FrameServer::until_next_deadline() {
    std::lock_guard lock(mutex_);
    const bool unknown =
        std::ranges::any_of(consumers_, [](const auto& entry) { return !entry.second->ready; });
    return std::chrono::milliseconds(unknown ? 500 : -1);
}

void FrameServer::drop_who_never_said_hello() {
    Work work(*this);
    for (auto& [id, consumer] : consumers_) {
        if (!consumer->ready && consumer->socket && Clock::now() > consumer->hello_deadline) {
            drop(work, *consumer, wire::code_protocol, "it said no hello within 5 seconds");
        }
    }
}

void FrameServer::accept_all() {
    for (;;) {
        UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (socket) {
            add_connection(std::move(socket));
            continue;
        }
        if (errno == EMFILE || errno == ENFILE) {
            // Whoever waits would wake us for ever: take it in with the spare one, and let it go.
            spare_.reset();
            socket.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            socket.reset();
            spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            handler_.handle_turned_away("the producer has no descriptors left");
            if (spare_) {
                continue;
            }
        }
        if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

void FrameServer::add_connection(UniqueFd socket) {
    auto turn_away = [&](wire::Code code, const std::string& text) {
        static_cast<void>(send_packet(socket.get(), wire::encode(wire::Failure{code, text}), {}));
        handler_.handle_turned_away(text);
    };
    auto peer = peer_credentials(socket.get());
    if (!peer) {
        return turn_away(wire::code_permission, peer.error().message);
    }
    if (peer->uid != ::geteuid()) {
        return turn_away(wire::code_permission,
                         std::format("process {} belongs to user {}; only those of user {} may "
                                     "connect",
                                     peer->pid, peer->uid, ::geteuid()));
    }
    Work work(*this);
    if (consumers_.size() >= settings_.max_consumers) {
        const std::string text =
            std::format("there are {} consumers already; more need a higher max-consumers",
                        settings_.max_consumers);
        static_cast<void>(
            send_packet(socket.get(), wire::encode(wire::Failure{wire::code_busy, text}), {}));
        work.turned_away(text);
        return;
    }
    auto consumer = std::make_unique<FrameConsumer>();
    consumer->info.id = next_id_++;
    consumer->info.pid = peer->pid;
    consumer->hello_deadline = Clock::now() + kHelloTimeout;
    consumer->socket = std::move(socket);
    watch(consumer->socket.get(), consumer->info.id, EPOLLIN, EPOLL_CTL_ADD);
    const uint64_t id = consumer->info.id;
    consumers_.emplace(id, std::move(consumer));
}

void FrameServer::flush(uint64_t id) {
    Work work(*this);
    auto found = consumers_.find(id);
    if (found == consumers_.end()) {
        return;
    }
    FrameConsumer& consumer = *found->second;
    while (consumer.socket && !consumer.waiting.empty()) {
        const FrameConsumer::Outgoing& next = consumer.waiting.front();
        std::vector<int> fds;
        fds.reserve(next.fds.size());
        for (const UniqueFd& fd : next.fds) {
            fds.push_back(fd.get());
        }
        auto sent = send_packet(consumer.socket.get(), next.bytes, fds);
        if (!sent) {
            drop(work, consumer, wire::code_internal, sent.error().message, false);
            return;
        }
        if (!*sent) {
            return;
        }
        consumer.waiting.pop_front();
    }
    if (consumer.socket) {
        watch(consumer.socket.get(), id, EPOLLIN, EPOLL_CTL_MOD);
    }
}

void FrameServer::read(uint64_t id) {
    for (int packets = 0; packets < kPacketsPerTurn; ++packets) {
        Work work(*this);
        auto found = consumers_.find(id);
        if (found == consumers_.end() || !found->second->socket) {
            return;
        }
        FrameConsumer& consumer = *found->second;
        auto packet = receive_packet(consumer.socket.get(), wire::kMaxPacket, wire::kMaxPacketFds);
        if (!packet) {
            const bool broken = packet.error().fault == Fault::protocol;
            drop(work, consumer, wire::code_malformed, packet.error().message, broken);
            return;
        }
        if (!*packet || !handle_packet(work, consumer, (*packet)->bytes, (*packet)->fds)) {
            return;
        }
        changed_.notify_all();
    }
}

bool FrameServer::handle_packet(Work& work, FrameConsumer& consumer,
                                std::span<const std::byte> bytes, std::vector<UniqueFd>& fds) {
    auto messages = wire::decode(bytes, fds.size());
    if (!messages) {
        drop(work, consumer, wire::code_malformed, messages.error().message);
        return false;
    }
    for (const wire::Received& received : *messages) {
        const wire::Message& message = received.message;
        bool goes_on = true;
        if (const auto* failure = std::get_if<wire::Failure>(&message)) {
            drop(work, consumer, wire::code_protocol, std::format("it says: {}", failure->text),
                 false);
            goes_on = false;
        } else if (const auto* hello = std::get_if<wire::Hello>(&message)) {
            goes_on = handle(work, consumer, *hello);
        } else if (!consumer.ready) {
            drop(work, consumer, wire::code_protocol, "it did not say hello first");
            goes_on = false;
        } else if (const auto* credits = std::get_if<wire::Credits>(&message)) {
            goes_on = handle(work, consumer, *credits);
        } else if (const auto* release = std::get_if<wire::Release>(&message)) {
            UniqueFd fence = received.fds > 0 ? std::move(fds[received.first_fd]) : UniqueFd();
            goes_on = handle_release(work, consumer, release->frame, std::move(fence));
        } else if (const auto* input = std::get_if<wire::Input>(&message)) {
            goes_on = handle(work, consumer, *input);
        } else if (const auto* step = std::get_if<wire::Step>(&message)) {
            goes_on = handle(work, consumer, *step);
        }
        // What only a producer says is of no meaning from a consumer, as an unknown type is.
        if (!goes_on || !consumer.socket) {
            return false;
        }
    }
    return true;
}

bool FrameServer::handle(Work& work, FrameConsumer& consumer, const wire::Hello& hello) {
    if (consumer.ready) {
        drop(work, consumer, wire::code_protocol, "it said hello twice");
        return false;
    }
    if (hello.version_min > wire::kVersion || hello.version_max < wire::kVersion) {
        drop(work, consumer, wire::code_version,
             std::format("it speaks versions {} to {} of the frame socket; this producer speaks "
                         "version {}",
                         hello.version_min, hello.version_max, wire::kVersion));
        return false;
    }
    constexpr uint64_t kKnown = wire::capability_memfd | wire::capability_dmabuf |
                                wire::capability_acquire_fence | wire::capability_release_fence;
    consumer.capabilities = hello.capabilities & kKnown;
    consumer.credits = hello.credits;
    consumer.info.name = hello.name;
    consumer.info.steps = settings_.mode == wire::Mode::steps &&
                          (hello.wants & wire::want_steps) != 0 && stepper() == nullptr;
    consumer.ready = true;
    work.connected(consumer.info);
    send(work, consumer,
         wire::Welcome{.granted = consumer.info.steps ? uint32_t{wire::want_steps} : 0U,
                       .capabilities = consumer.capabilities,
                       .mode = static_cast<uint32_t>(settings_.mode),
                       .pid = static_cast<uint32_t>(::getpid())});
    if (stream_.stream != 0 && consumer.socket) {
        consumer.stream = stream_.stream;
        send(work, consumer, stream_);
    }
    send_current(work, consumer);
    if (end_) {
        consumer.ended = true;
        send(work, consumer, *end_);
    }
    return true;
}

bool FrameServer::handle(Work& work, FrameConsumer& consumer, const wire::Credits& credits) {
    if (uint64_t{consumer.credits} + consumer.held.size() + credits.count > wire::kMaxCredits) {
        drop(work, consumer, wire::code_protocol,
             std::format("it has {} credits, holds {} frames and grants {} more; {} together are "
                         "possible",
                         consumer.credits, consumer.held.size(), credits.count, wire::kMaxCredits));
        return false;
    }
    consumer.credits += credits.count;
    send_current(work, consumer);
    return true;
}

bool FrameServer::handle_release(Work& work, FrameConsumer& consumer, uint64_t frame,
                                 UniqueFd fence) {
    auto held = consumer.held.find(frame);
    if (held == consumer.held.end()) {
        drop(work, consumer, wire::code_protocol,
             std::format("it released frame {}, which it does not hold", frame));
        return false;
    }
    if (fence) {
        auto adopted = SyncFile::adopt(std::move(fence));
        if (!adopted) {
            drop(work, consumer, wire::code_protocol,
                 std::format("the fence of its release: {}", adopted.error().message));
            return false;
        }
        work.release_with(held->second, std::move(*adopted));
    }
    work.drop_later(std::move(held->second));
    consumer.held.erase(held);
    return true;
}

bool FrameServer::handle(Work& work, FrameConsumer& consumer, const wire::Input& input) {
    const uint64_t number = ++consumer.inputs;
    if (consumer.ended) {
        send(work, consumer, wire::Refused{number, wire::Input::type, kEnded});
        return true;
    }
    if (settings_.mode != wire::Mode::steps) {
        work.inject(consumer.info.id, number, input);
        return true;
    }
    if (!consumer.info.steps) {
        send(work, consumer,
             wire::Refused{number, wire::Input::type, "only who steps the game may send input"});
        return true;
    }
    if (consumer.kept.size() >= kMaxKeptInputs) {
        drop(work, consumer, wire::code_protocol,
             std::format("it sent more than {} inputs without a step", kMaxKeptInputs));
        return false;
    }
    consumer.kept.push_back(input);
    return true;
}

bool FrameServer::handle(Work& work, FrameConsumer& consumer, const wire::Step& step) {
    if (consumer.ended) {
        send(work, consumer, wire::Refused{step.sequence, wire::Step::type, kEnded});
        return true;
    }
    if (!consumer.info.steps) {
        const char* why = settings_.mode == wire::Mode::steps
                              ? "another consumer steps the game, or this one did not ask to"
                              : "the producer does not wait for steps; use wait=steps";
        send(work, consumer, wire::Refused{step.sequence, wire::Step::type, why});
        return true;
    }
    if (consumer.asked || consumer.taking) {
        drop(work, consumer, wire::code_protocol, "it asked for a step while one was open");
        return false;
    }
    consumer.asked = step.sequence;
    return true;
}

void FrameServer::drain(SyncFile fence, LeasePtr lease) {
    std::lock_guard lock(mutex_);
    const uint64_t id = next_id_++;
    const int fd = fence.fd();
    draining_.emplace(id, Draining{std::move(fence), std::move(lease)});
    watch(fd, id, EPOLLIN, EPOLL_CTL_ADD);
}

void FrameServer::finish_draining(uint64_t id) {
    Work work(*this);
    if (auto found = draining_.find(id); found != draining_.end()) {
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fence.fd(), nullptr);
        work.drop_later(std::move(found->second.lease));
        draining_.erase(found);
    }
}

}  // namespace stepscope
