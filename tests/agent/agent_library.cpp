// SPDX-License-Identifier: LGPL-2.1-or-later
// The C library beside a producer that says and hands out what it likes.
#include <fcntl.h>
#include <poll.h>
#include <stepscope-agent.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <memory>

#include "base/frame_wire.hpp"
#include "base/packet_socket.hpp"

using namespace stepscope;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr size_t kFileSize = 4096;
constexpr uint32_t kHeight = 16;
constexpr uint32_t kStride = 256;  // so that a picture is as large as its file

struct DestroyAgent {
    void operator()(stepscope_agent* agent) const { stepscope_agent_destroy(agent); }
};

UniqueFd make_memory(unsigned seals) {
    UniqueFd fd(::memfd_create("frames", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(kFileSize)) == 0);
    REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
}

/** What the producer says lies in the socket before the agent asks. */
class Producer {
public:
    explicit Producer(bool steps = false) {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
        socket_ = UniqueFd(ends[0]);
        say(wire::Welcome{.granted = wire::want_steps});
        const stepscope_agent_options options{.name = "test", .credits = 2, .steps = steps ? 1 : 0};
        std::array<char, 256> why{};
        agent_.reset(stepscope_agent_adopt(ends[1], &options, why.data(), why.size()));
        INFO(why.data());
        REQUIRE(agent_);
        static_cast<void>(heard());  // the hello
    }

    void say(const wire::Message& message, int fd = -1) {
        const uint16_t fds = fd >= 0 ? 1 : 0;
        REQUIRE(send_packet(socket_.get(), wire::encode(message, fds), std::span(&fd, fds))
                    .has_value());
    }

    /** The next packet of the agent's; nothing if it has said nothing. */
    std::vector<wire::Received> heard() {
        pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        if (::poll(&readable, 1, 0) != 1) {
            return {};
        }
        auto packet = receive_packet(socket_.get(), wire::kMaxPacket, wire::kMaxPacketFds);
        REQUIRE(packet.has_value());
        REQUIRE(packet->has_value());
        auto messages = wire::decode((*packet)->bytes, (*packet)->fds.size());
        REQUIRE(messages.has_value());
        return std::move(*messages);
    }

    /** Announces the memory and lets the agent hear of it. */
    void announce(const UniqueFd& memory, uint64_t offset) {
        say(wire::Stream{.stream = 1, .width = kStride / 4, .height = kHeight});
        wire::Slot slot{.slot = 7, .stream = 1, .planes = 1, .files = 1};
        slot.plane[0] = {.file = 0, .stride = kStride, .offset = offset};
        slot.file_size[0] = kFileSize;
        say(slot, memory.get());
        for (const auto type : {STEPSCOPE_AGENT_STREAM, STEPSCOPE_AGENT_SLOT}) {
            REQUIRE(stepscope_agent_next(agent(), 1000, event_.get()) == 1);
            CHECK(event_->type == type);
        }
    }

    stepscope_agent* agent() const { return agent_.get(); }

private:
    UniqueFd socket_;
    std::unique_ptr<stepscope_agent, DestroyAgent> agent_;
    std::unique_ptr<stepscope_agent_event> event_ = std::make_unique<stepscope_agent_event>();
};

}  // namespace

TEST_CASE("a picture is mapped where it lies") {
    Producer producer;
    const UniqueFd memory = make_memory(F_SEAL_SHRINK);
    producer.announce(memory, 0);
    constexpr std::array<char, 4> kPixel{1, 2, 3, 4};
    REQUIRE(::pwrite(memory.get(), kPixel.data(), kPixel.size(), kFileSize - kPixel.size()) ==
            static_cast<ssize_t>(kPixel.size()));
    const auto* pixels = static_cast<const char*>(stepscope_agent_map(producer.agent(), 7));
    REQUIRE(pixels != nullptr);
    CHECK(std::equal(kPixel.begin(), kPixel.end(), pixels + kFileSize - kPixel.size()));
}

TEST_CASE("a picture that does not lie within its memory is not mapped") {
    // The second wraps round: with the size of the picture it is zero.
    for (const uint64_t offset : {uint64_t{1}, uint64_t{0} - uint64_t{kStride} * kHeight}) {
        Producer producer;
        producer.announce(make_memory(F_SEAL_SHRINK), offset);
        CHECK(stepscope_agent_map(producer.agent(), 7) == nullptr);
        CHECK_THAT(stepscope_agent_error(producer.agent()),
                   ContainsSubstring("its memory has 4096"));
    }
}

TEST_CASE("memory that can shrink under its reader is not mapped") {
    Producer producer;
    producer.announce(make_memory(F_SEAL_GROW), 0);
    CHECK(stepscope_agent_map(producer.agent(), 7) == nullptr);
    CHECK_THAT(stepscope_agent_error(producer.agent()), ContainsSubstring("not sealed"));
}

TEST_CASE("input leaves at once, but with the step where the agent steps the game") {
    Producer live;
    REQUIRE(stepscope_agent_key(live.agent(), "Up", 1) == 0);
    auto said = live.heard();
    REQUIRE(said.size() == 1);
    CHECK(std::get<wire::Input>(said[0].message).key == "Up");

    Producer stepped(true);
    REQUIRE(stepscope_agent_key(stepped.agent(), "Up", 1) == 0);
    CHECK(stepped.heard().empty());
    REQUIRE(stepscope_agent_step(stepped.agent(), nullptr) == 0);
    said = stepped.heard();
    REQUIRE(said.size() == 2);
    CHECK(std::holds_alternative<wire::Input>(said[0].message));
    CHECK(std::holds_alternative<wire::Step>(said[1].message));
}

TEST_CASE("what a producer does not read is not lost without a word") {
    Producer producer(true);
    // Several times what the socket takes.
    for (int count = 0; count < 20'000; ++count) {
        REQUIRE(stepscope_agent_key(producer.agent(), "Up", count % 2) == 0);
    }
    CHECK(stepscope_agent_step(producer.agent(), nullptr) == -1);
    CHECK_THAT(stepscope_agent_error(producer.agent()), ContainsSubstring("does not read"));
    while (!producer.heard().empty()) {
    }
    stepscope_agent_event event;
    CHECK(stepscope_agent_next(producer.agent(), 0, &event) == -1);
    CHECK_THAT(stepscope_agent_error(producer.agent()), ContainsSubstring("does not read"));
}
