// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/frame_wire.hpp"

#include <catch2/catch_test_macros.hpp>
#include <format>
#include <set>

#include "tests/support/frame_vectors.hpp"

using namespace stepscope;
using namespace stepscope::wire;

namespace {

/** Messages as the text lines of the vectors have them. */
struct Describe {
    std::string operator()(const Failure& m) const {
        return std::format("error code={} text=\"{}\"", m.code, m.text);
    }
    std::string operator()(const Hello& m) const {
        return std::format(
            "hello version_min={} version_max={} wants={} capabilities={} credits={} "
            "name=\"{}\"",
            m.version_min, m.version_max, m.wants, m.capabilities, m.credits, m.name);
    }
    std::string operator()(const Credits& m) const {
        return std::format("credits count={}", m.count);
    }
    std::string operator()(const Release& m) const {
        return std::format("release frame={}", m.frame);
    }
    std::string operator()(const Input& m) const {
        return std::format("input kind={} pressed={} button={} x={} y={} key=\"{}\"", m.kind,
                           m.pressed, m.button, m.x, m.y, m.key);
    }
    std::string operator()(const Step& m) const {
        return std::format("step sequence={}", m.sequence);
    }
    std::string operator()(const Welcome& m) const {
        return std::format(
            "welcome version={} granted={} capabilities={} mode={} max_credits={} "
            "pid={}",
            m.version, m.granted, m.capabilities, m.mode, m.max_credits, m.pid);
    }
    std::string operator()(const Stream& m) const {
        std::string text = std::format(
            "stream stream={} memory={} width={} height={} fourcc={} flags={} modifier={} "
            "rate={}/{} aspect={}/{} step_ns={} clock={} colour={},{},{},{} mastering=",
            m.stream, m.memory, m.width, m.height, m.fourcc, m.flags, m.modifier, m.rate_numerator,
            m.rate_denominator, m.aspect_numerator, m.aspect_denominator, m.step_ns, m.clock,
            m.range, m.primaries, m.transfer, m.matrix);
        for (size_t index = 0; index < m.mastering.size(); ++index) {
            text += std::format("{}{}", index > 0 ? "," : "", m.mastering[index]);
        }
        return text + std::format(" luminance={},{} light={},{}", m.mastering_max, m.mastering_min,
                                  m.max_cll, m.max_fall);
    }
    std::string operator()(const Slot& m) const {
        std::string text = std::format("slot slot={} stream={} planes={} files={}", m.slot,
                                       m.stream, m.planes, m.files);
        for (uint32_t index = 0; index < m.planes; ++index) {
            const Slot::Plane& plane = m.plane[index];
            text += std::format(" plane{}={},{},{}", index, plane.file, plane.stride, plane.offset);
        }
        for (uint32_t index = 0; index < m.files; ++index) {
            text += std::format(" size{}={}", index, m.file_size[index]);
        }
        return text;
    }
    std::string operator()(const SlotGone& m) const {
        return std::format("slot_gone slot={}", m.slot);
    }
    std::string operator()(const Frame& m) const {
        std::string text = std::format(
            "frame frame={} slot={} flags={} answers={} step={} pts={} duration={} virtual_time={} "
            "wall_time={} commit={} input_sequence={} path={} reason={} dropped={} damage={}",
            m.frame, m.slot, m.flags, m.answers, m.step, m.pts, m.duration, m.virtual_time,
            m.wall_time, m.commit, m.input_sequence, m.path, m.reason, m.dropped, m.damage.size());
        for (const Rectangle& one : m.damage) {
            text += std::format(" {},{},{},{}", one.x, one.y, one.width, one.height);
        }
        return text;
    }
    std::string operator()(const End& m) const {
        return std::format("end reason={} value={} text=\"{}\"", m.reason, m.value, m.text);
    }
    std::string operator()(const Refused& m) const {
        return std::format("refused number={} what={} text=\"{}\"", m.number, m.what, m.text);
    }
};

std::vector<std::string> described(const std::vector<Received>& messages) {
    std::vector<std::string> texts;
    for (const Received& received : messages) {
        texts.push_back(std::visit(Describe(), received.message));
    }
    return texts;
}

}  // namespace

TEST_CASE("the vectors are read and written to the byte") {
    std::set<std::string> kinds;
    for (const auto& vector : testing::read_frame_vectors(STEPSCOPE_FRAME_VECTORS)) {
        INFO(vector.name);
        kinds.insert(vector.kind);
        auto decoded = decode(vector.bytes, vector.fds);
        if (vector.kind == "malformed") {
            REQUIRE_FALSE(decoded);
            CHECK(decoded.error().fault == Fault::protocol);
            continue;
        }
        if (!decoded) {
            FAIL(decoded.error().message);
        }
        CHECK(described(*decoded) == vector.texts);
        if (vector.kind == "good") {
            PacketWriter writer;
            for (const Received& received : *decoded) {
                writer.add(received.message, static_cast<uint16_t>(received.fds));
            }
            CHECK(writer.take() == vector.bytes);
        }
    }
    CHECK(kinds == std::set<std::string>{"good", "tolerated", "malformed"});
}

TEST_CASE("descriptors go to the message that they came with") {
    PacketWriter writer;
    writer.add(Slot{.slot = 1, .stream = 1, .planes = 1, .files = 2}, 2);
    writer.add(SlotGone{3});
    writer.add(Frame{.frame = 1, .slot = 1}, 1);
    auto decoded = decode(writer.bytes(), 3);
    REQUIRE(decoded);
    REQUIRE(decoded->size() == 3);
    CHECK(decoded->at(0).first_fd == 0);
    CHECK(decoded->at(0).fds == 2);
    CHECK(decoded->at(2).first_fd == 2);
    CHECK(decoded->at(2).fds == 1);
}

TEST_CASE("a text that is too long is cut between two characters") {
    std::string text(kMaxText - 1, 'a');
    text += "\u00e9 and more";
    auto decoded = decode(encode(End{.text = text}), 0);
    REQUIRE(decoded);
    CHECK(std::get<End>(decoded->front().message).text == std::string(kMaxText - 1, 'a'));
}

TEST_CASE("every beginning of a packet is refused or is whole messages") {
    for (const auto& vector : testing::read_frame_vectors(STEPSCOPE_FRAME_VECTORS)) {
        for (size_t size = 0; size < vector.bytes.size(); ++size) {
            std::vector<std::byte> beginning(vector.bytes.begin(),
                                             vector.bytes.begin() + static_cast<ptrdiff_t>(size));
            auto decoded = decode(beginning, 0);
            CHECK((!decoded || decoded->size() <= vector.texts.size()));
        }
    }
}
