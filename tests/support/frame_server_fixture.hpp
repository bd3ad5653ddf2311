// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/packet_socket.hpp"
#include "base/unix_socket.hpp"
#include "elements/frame_client.hpp"
#include "elements/frame_server.hpp"

namespace stepscope::testing {

/** A lease of nothing, which lets the server wait for release fences. */
class PlainLease final : public FrameLease {
public:
    bool take_release_fence(SyncFile&) override { return false; }
};

inline bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

/** 16x16 pixels of XRGB8888. */
inline wire::Stream small_stream(wire::Memory memory) {
    return {
        .memory = static_cast<uint32_t>(memory), .width = 16, .height = 16, .fourcc = 0x34325258};
}

inline wire::Slot small_slot(uint64_t file_size) {
    wire::Slot slot{.planes = 1, .files = 1};
    slot.plane[0] = {.file = 0, .stride = 64, .offset = 0};
    slot.file_size[0] = file_size;
    return slot;
}

/** A server on a socket of its own. */
struct ServerFixture : FrameServerHandler {
    explicit ServerFixture(wire::Mode mode) {
        std::string pattern = std::filesystem::temp_directory_path() / "stepscope-test-XXXXXX";
        directory = ::mkdtemp(pattern.data());
        auto made = FrameServer::create(
            {.path = directory + "/frames", .mode = mode, .max_consumers = 64}, *this);
        REQUIRE(made);
        server = std::move(*made);
    }
    ~ServerFixture() override {
        server.reset();
        std::filesystem::remove_all(directory);
    }

    std::shared_ptr<FrameClient> connect(const wire::Hello& hello) {
        auto client = FrameClient::connect(server->path(), {}, hello, std::chrono::seconds(20));
        REQUIRE(client);
        return *client;
    }
    UniqueFd raw() {
        auto socket = connect_unix(server->path(), SocketKind::packets);
        REQUIRE(socket);
        return std::move(*socket);
    }
    /** The lease expires when all consumers have released the frame. */
    std::weak_ptr<FrameLease> deliver(uint32_t slot, int fence) {
        return deliver(wire::Frame{.slot = slot}, fence);
    }
    std::weak_ptr<FrameLease> deliver(const wire::Frame& frame, int fence) {
        auto lease = std::make_shared<PlainLease>();
        server->deliver(frame, fence, lease);
        return lease;
    }

    void handle_connected(const ConsumerInfo&) override {}
    void handle_disconnected(const ConsumerInfo&, const std::string&) override {}
    void handle_turned_away(const std::string&) override {}
    Result<void> handle_input(const wire::Input&) override { return {}; }

    std::string directory;
    std::unique_ptr<FrameServer> server;
};

template <typename T>
struct Awaited {
    T message;
    std::vector<UniqueFd> fds;
};

/** How many messages of each type await() has passed over, since it was asked last. */
inline std::map<std::pair<const FrameClient*, uint16_t>, int>& passed_over() {
    static std::map<std::pair<const FrameClient*, uint16_t>, int> counts;
    return counts;
}

template <typename T>
int seen(const FrameClient& client) {
    return std::exchange(passed_over()[{&client, T::type}], 0);
}

/** The next message of type T. */
template <typename T>
Awaited<T> await(FrameClient& client) {
    for (;;) {
        auto event = client.next(std::chrono::steady_clock::now() + std::chrono::seconds(20));
        if (!event) {
            FAIL(event.error().message);
        }
        REQUIRE(event->has_value());
        if (auto* message = std::get_if<T>(&(*event)->message)) {
            return {std::move(*message), std::move((*event)->fds)};
        }
        std::visit([&](const auto& other) { ++passed_over()[{&client, other.type}]; },
                   (*event)->message);
    }
}

}  // namespace stepscope::testing
