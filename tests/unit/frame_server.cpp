// SPDX-License-Identifier: LGPL-2.1-or-later
// Both ends of the frame socket in one process, without GStreamer.
#include "elements/frame_server.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
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

    /** A frame with a damaged rectangle for each x; with none it may differ anywhere. */
    void deliver_damaged(const std::vector<uint32_t>& places, uint32_t flags = 0) {
        wire::Frame frame{.slot = slot, .flags = flags};
        for (uint32_t x : places) {
            frame.damage.push_back({x, 0, 1, 1});
        }
        ServerFixture::deliver(frame, -1);
    }

    uint32_t slot = 0;
};

std::vector<uint32_t> places(const wire::Frame& frame) {
    std::vector<uint32_t> places;
    for (const wire::Rectangle& area : frame.damage) {
        places.push_back(area.x);
    }
    return places;
}

bool repeated(const wire::Frame& frame) {
    return (frame.flags & wire::frame_repeated) != 0;
}

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

TEST_CASE("damage is what differs from the frame that this consumer had before") {
    Producer producer(wire::Mode::live);
    auto all = producer.connect({.capabilities = 15, .credits = 100});
    auto some = producer.connect({.capabilities = 15, .credits = 1});
    using List = std::vector<uint32_t>;
    auto next = [](FrameClient& consumer) { return await<wire::Frame>(consumer).message; };
    // A message that has an answer has been taken, and those before it.
    auto grant = [&] {
        some->send({wire::Credits{1}, wire::Step{1}});
        await<wire::Refused>(*some);
    };
    producer.deliver_damaged({1}, wire::frame_repeated);
    for (FrameClient* consumer : {all.get(), some.get()}) {
        const wire::Frame first = next(*consumer);
        CHECK(places(first).empty());
        CHECK_FALSE(repeated(first));
    }
    producer.deliver_damaged({2});
    producer.deliver_damaged({3, 2});
    producer.deliver_damaged({}, wire::frame_repeated);
    grant();
    producer.deliver_damaged({4});
    CHECK(places(next(*some)) == List{2, 3, 4});
    CHECK(places(next(*all)) == List{2});
    CHECK(places(next(*all)) == List{3, 2});
    const wire::Frame same = next(*all);
    CHECK(repeated(same));
    CHECK(places(same).empty());
    CHECK(places(next(*all)) == List{4});

    SECTION("a repeat of a picture that it missed is new for it") {
        producer.deliver_damaged({5});
        grant();
        producer.deliver_damaged({}, wire::frame_repeated);
        const wire::Frame missed = next(*some);
        CHECK_FALSE(repeated(missed));
        CHECK(places(missed) == List{5});
    }
    SECTION("one frame whose damage is not known, and nothing is known") {
        producer.deliver_damaged({5});
        producer.deliver_damaged({});
        producer.deliver_damaged({6});
        grant();
        producer.deliver_damaged({7});
        CHECK(places(next(*some)).empty());
        grant();
        producer.deliver_damaged({8});
        CHECK(places(next(*some)) == List{8});
    }
    SECTION("too many rectangles become one around them") {
        for (uint32_t x = 10; x < 90; ++x) {
            producer.deliver_damaged({x});
        }
        grant();
        producer.deliver_damaged({90});
        const wire::Frame frame = next(*some);
        CHECK(frame.damage.size() <= wire::kMaxDamage);
        for (uint32_t x = 10; x <= 90; ++x) {
            CHECK(std::ranges::any_of(frame.damage, [x](const wire::Rectangle& area) {
                return x >= area.x && x < area.x + area.width;
            }));
        }
    }
    SECTION("nothing is known of the first frame of a stream") {
        producer.server->set_stream(small_stream(wire::Memory::memfd));
        std::vector<UniqueFd> files;
        files.push_back(make_memory(4096));
        producer.slot = producer.server->add_slot(small_slot(4096), std::move(files));
        grant();
        producer.deliver_damaged({5});
        CHECK(places(next(*some)).empty());
        grant();
        producer.deliver_damaged({6});
        CHECK(places(next(*some)) == List{6});
    }
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

TEST_CASE("who was told of the end gets nothing of what comes after it") {
    Producer producer(wire::Mode::live);
    auto old = producer.connect({.capabilities = 15, .credits = 4});
    auto held = producer.deliver();
    await<wire::Frame>(*old);
    producer.server->end(wire::EndReason::stream, 0, "the stream ended");
    await<wire::End>(*old);
    auto too_late = producer.connect({.capabilities = 15, .credits = 4});
    await<wire::End>(*too_late);

    producer.server->begin_again();
    auto next = producer.connect({.capabilities = 15, .credits = 4});
    producer.deliver();
    await<wire::Frame>(*next);
    CHECK(seen<wire::Stream>(*next) == 1);
    CHECK(seen<wire::End>(*next) == 0);
    // Its answers are the first that it gets after the end: neither a frame nor a slot that is
    // gone.
    producer.server->remove_slot(producer.slot);
    for (FrameClient* ended : {old.get(), too_late.get()}) {
        ended->send({wire::Credits{2}, wire::Input{.kind = 1, .key = "Up"}, wire::Step{9}});
        const auto input = await<wire::Refused>(*ended).message;
        CHECK((input.what == wire::Input::type && input.number == 1));
        const auto step = await<wire::Refused>(*ended).message;
        CHECK((step.what == wire::Step::type && step.number == 9));
        CHECK(step.text.contains("connect again"));
        CHECK(seen<wire::Frame>(*ended) == 0);
        CHECK(seen<wire::SlotGone>(*ended) == 0);
    }
    await<wire::SlotGone>(*next);
    CHECK_FALSE(held.expired());
    old->close();
    CHECK(eventually([&] { return held.expired(); }));

    producer.server->end(wire::EndReason::stream, 0, "the stream ended");
    await<wire::End>(*next);
    too_late->send({wire::Step{10}});
    await<wire::Refused>(*too_late);
    CHECK(seen<wire::End>(*too_late) == 0);
}

TEST_CASE("who was told of the end is not waited for, and steps nothing") {
    const wire::Mode mode = GENERATE(wire::Mode::credits, wire::Mode::steps);
    Producer producer(mode);
    const wire::Hello agent{.wants = wire::want_steps, .capabilities = 15, .credits = 1};
    auto old = producer.connect(agent);
    producer.deliver();
    await<wire::Frame>(*old);
    producer.server->end(wire::EndReason::exited, 0, "");
    await<wire::End>(*old);
    producer.server->begin_again();

    auto next = producer.connect(agent);
    CHECK((next->welcome().granted == wire::want_steps) == (mode == wire::Mode::steps));
    CHECK(producer.server->wait_ready());
    producer.deliver();
    const auto frame = await<wire::Frame>(*next).message;
    CHECK(frame.frame == 2);
    next->send({wire::Release{frame.frame}, wire::Credits{1}, wire::Step{1}});
    if (mode == wire::Mode::steps) {
        CHECK(producer.server->wait_step());
    } else {
        CHECK(producer.server->wait_ready());
    }
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
