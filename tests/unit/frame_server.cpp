// SPDX-License-Identifier: LGPL-2.1-or-later
// Both ends of the frame socket in one process, without GStreamer.
#include "elements/frame_server.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <random>

#include "elements/frame_client.hpp"
#include "tests/support/frame_server_fixture.hpp"
#include "tests/support/frame_vectors.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

UniqueFd make_memory(size_t size) {
    UniqueFd fd(::memfd_create("frames", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
    REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    return fd;
}

/** A server with one slot of shared memory. */
struct Producer : ServerFixture {
    explicit Producer(wire::Mode mode) : ServerFixture(mode) {
        server->set_stream(small_stream(wire::Memory::memfd));
        std::vector<UniqueFd> files;
        files.push_back(make_memory(4096));
        slot = server->add_slot(small_slot(4096), std::move(files));
    }
    std::weak_ptr<FrameLease> deliver() { return ServerFixture::deliver(slot, -1); }

    uint32_t slot = 0;
};

}  // namespace

TEST_CASE("memory is announced once, and a frame is given back when the last one released it") {
    Producer producer(wire::Mode::live);
    auto one = producer.connect({.capabilities = 15, .credits = 4});
    auto two = producer.connect({.capabilities = 15, .credits = 4});
    auto lease = producer.deliver();
    auto first = await<wire::Frame>(*one);
    CHECK(seen<wire::Slot>(*one) == 1);
    auto other = await<wire::Frame>(*two);
    CHECK(first.message.frame == other.message.frame);
    one->send({wire::Release{first.message.frame}});
    std::this_thread::sleep_for(50ms);
    CHECK_FALSE(lease.expired());
    two->send({wire::Release{other.message.frame}});
    CHECK(eventually([&] { return lease.expired(); }));
    producer.deliver();
    await<wire::Frame>(*one);
    CHECK(seen<wire::Slot>(*one) == 0);
}

TEST_CASE("a consumer that goes away gives everything back") {
    Producer producer(wire::Mode::live);
    auto consumer = producer.connect({.capabilities = 15, .credits = 4});
    auto one = producer.deliver();
    auto two = producer.deliver();
    await<wire::Frame>(*consumer);
    consumer->close();
    CHECK(eventually([&] { return one.expired() && two.expired(); }));
    CHECK(eventually([&] { return producer.server->stats().consumers == 0; }));
}

TEST_CASE("a frame that was left out is counted") {
    Producer producer(wire::Mode::live);
    auto consumer = producer.connect({.capabilities = 15, .credits = 1});
    producer.deliver();
    producer.deliver();
    producer.deliver();
    CHECK(await<wire::Frame>(*consumer).message.dropped == 0);
    consumer->send({wire::Credits{1}});
    CHECK(eventually([&] {
        producer.deliver();
        return producer.server->stats().sent == 2;
    }));
    auto next = await<wire::Frame>(*consumer).message;
    CHECK(next.dropped >= 2);
    CHECK((next.flags & wire::frame_discontinuity) != 0);
}

TEST_CASE("a step is answered by the next frame, with its inputs before it") {
    Producer producer(wire::Mode::steps);
    auto agent = producer.connect({.wants = wire::want_steps, .capabilities = 15, .credits = 2});
    CHECK(agent->welcome().granted == wire::want_steps);
    auto viewer = producer.connect({.wants = wire::want_steps, .capabilities = 15, .credits = 2});
    CHECK(viewer->welcome().granted == 0);
    producer.deliver();
    auto first = await<wire::Frame>(*agent).message;
    CHECK(first.answers == 0);
    agent->send({wire::Input{.kind = 1, .pressed = 1, .key = "Up"}, wire::Release{first.frame},
                 wire::Credits{1}, wire::Step{7}});
    auto step = producer.server->wait_step();
    REQUIRE(step);
    REQUIRE(step->inputs.size() == 1);
    CHECK(step->inputs[0].key == "Up");
    CHECK(step->first_number == 1);
    producer.deliver();
    CHECK(await<wire::Frame>(*agent).message.answers == 7);
    await<wire::Frame>(*viewer);
    CHECK(await<wire::Frame>(*viewer).message.answers == 0);
    viewer->send({wire::Step{1}});
    CHECK(await<wire::Refused>(*viewer).message.what == wire::Step::type);
}

TEST_CASE("who joins between two steps begins with the current frame") {
    Producer producer(wire::Mode::steps);
    producer.deliver();
    auto late = producer.connect({.wants = wire::want_steps, .capabilities = 15, .credits = 0});
    for (const auto end = FrameClient::Clock::now() + 50ms; FrameClient::Clock::now() < end;) {
        auto event = late->next(end);
        REQUIRE(event);
        CHECK_FALSE((*event && std::holds_alternative<wire::Frame>((*event)->message)));
    }
    late->send({wire::Credits{1}});
    await<wire::Frame>(*late);
}

TEST_CASE("a wait ends when it is interrupted") {
    Producer producer(wire::Mode::credits);
    std::thread interrupter([&] {
        std::this_thread::sleep_for(20ms);
        producer.server->interrupt(true);
    });
    CHECK_FALSE(producer.server->wait_ready());
    interrupter.join();
}

TEST_CASE("whatever consumers send, the others go on") {
    Producer producer(wire::Mode::live);
    auto good = producer.connect({.capabilities = 15, .credits = 256});
    std::minstd_rand random(1);
    for (const FrameVector& vector : read_frame_vectors(STEPSCOPE_FRAME_VECTORS)) {
        for (int turn = 0; turn < 4; ++turn) {
            UniqueFd raw = producer.raw();
            std::vector<std::byte> bytes = vector.bytes;
            for (int change = 0; change < turn && !bytes.empty(); ++change) {
                bytes[random() % bytes.size()] = static_cast<std::byte>(random());
            }
            if (turn % 2 == 0) {
                static_cast<void>(send_packet(
                    raw.get(), wire::encode(wire::Hello{.capabilities = 15, .credits = 3}), {}));
            }
            const std::vector<int> fds(vector.fds, STDOUT_FILENO);
            static_cast<void>(send_packet(raw.get(), bytes, fds));
            if (turn == 3) {
                continue;  // closed before anybody looked at it
            }
            producer.deliver();
        }
    }
    CHECK(eventually([&] { return producer.server->stats().consumers == 1; }));
    await<wire::Frame>(*good);
}
