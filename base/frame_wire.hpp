// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "error.hpp"

/**
 * The messages of the frame socket, docs/frame-socket.md: bytes to values and back. Knows nothing
 * of sockets; what comes from a peer is checked for its form, not for whether it makes sense now.
 */
namespace stepscope::wire {

constexpr uint16_t kVersion = 1;
constexpr size_t kMaxPacket = 16384;
constexpr size_t kMaxPacketFds = 16;
constexpr size_t kMaxText = 1024;
constexpr size_t kMaxDamage = 64;
constexpr uint32_t kMaxCredits = 256;
constexpr uint64_t kNoTime = UINT64_MAX;

enum Code : uint32_t {
    code_malformed = 1,
    code_version = 2,
    code_busy = 3,
    code_permission = 4,
    code_protocol = 5,
    code_unsupported = 6,
    code_slow = 7,
    code_internal = 8,
};
enum Want : uint32_t { want_steps = 1 };
enum Capability : uint64_t {
    capability_memfd = 1,
    capability_dmabuf = 2,
    capability_acquire_fence = 4,
    capability_release_fence = 8,
};
enum StreamFlag : uint32_t { stream_mastering = 1, stream_light_level = 2, stream_alpha = 4 };
enum FrameFlag : uint32_t { frame_repeated = 1, frame_discontinuity = 2 };

/** Ends the connection. */
struct Failure {
    static constexpr uint16_t type = 0x0001;
    uint32_t code = code_malformed;
    std::string text;
};

struct Hello {
    static constexpr uint16_t type = 0x0101;
    uint16_t version_min = kVersion;
    uint16_t version_max = kVersion;
    uint32_t wants = 0;
    uint64_t capabilities = 0;
    uint32_t credits = 0;
    std::string name;
};

struct Credits {
    static constexpr uint16_t type = 0x0102;
    uint32_t count = 0;
};

struct Release {
    static constexpr uint16_t type = 0x0103;
    uint64_t frame = 0;
};

enum class InputKind : uint32_t {
    key = 1,
    motion = 2,
    relative = 3,
    button = 4,
    axis = 5,
    gamepad_button = 6,
    gamepad_axis = 7,
};

struct Input {
    static constexpr uint16_t type = 0x0104;
    uint32_t kind = 0;  // InputKind, or one of a later version
    uint32_t pressed = 0;
    uint32_t button = 0;  // of the pointer; for gamepads the number of the gamepad
    double x = 0;
    double y = 0;
    std::string key;  // or the name of a gamepad's button or axis
};

struct Step {
    static constexpr uint16_t type = 0x0105;
    uint64_t sequence = 0;
};

enum class Mode : uint32_t { live = 0, credits = 1, steps = 2 };

struct Welcome {
    static constexpr uint16_t type = 0x0201;
    uint16_t version = kVersion;
    uint32_t granted = 0;
    uint64_t capabilities = 0;
    uint32_t mode = 0;
    uint32_t max_credits = kMaxCredits;
    uint32_t pid = 0;
};

enum class Memory : uint32_t { memfd = 1, dmabuf = 2 };

struct Stream {
    static constexpr uint16_t type = 0x0202;
    uint32_t stream = 0;
    uint32_t memory = static_cast<uint32_t>(Memory::memfd);
    uint32_t width = 0;
    uint32_t height = 0;
    uint32_t fourcc = 0;
    uint32_t flags = 0;
    uint64_t modifier = 0;
    uint32_t rate_numerator = 0;
    uint32_t rate_denominator = 1;
    uint32_t aspect_numerator = 1;
    uint32_t aspect_denominator = 1;
    uint64_t step_ns = 0;
    uint32_t clock = 0;
    uint32_t range = 0;
    uint16_t primaries = 2;
    uint16_t transfer = 2;
    uint16_t matrix = 2;
    std::array<uint16_t, 8> mastering{};
    uint32_t mastering_max = 0;
    uint32_t mastering_min = 0;
    uint16_t max_cll = 0;
    uint16_t max_fall = 0;

    bool operator==(const Stream&) const = default;
};

struct Slot {
    static constexpr uint16_t type = 0x0203;
    struct Plane {
        uint32_t file = 0;
        uint32_t stride = 0;
        uint64_t offset = 0;
    };
    uint32_t slot = 0;
    uint32_t stream = 0;
    uint32_t planes = 0;
    uint32_t files = 0;
    std::array<Plane, 4> plane{};
    std::array<uint64_t, 4> file_size{};
};

struct SlotGone {
    static constexpr uint16_t type = 0x0204;
    uint32_t slot = 0;
};

struct Rectangle {
    uint32_t x = 0;
    uint32_t y = 0;
    uint32_t width = 0;
    uint32_t height = 0;
};

struct Frame {
    static constexpr uint16_t type = 0x0205;
    uint64_t frame = 0;
    uint32_t slot = 0;
    uint32_t flags = 0;
    uint64_t answers = 0;
    uint64_t step = 0;
    uint64_t pts = kNoTime;
    uint64_t duration = kNoTime;
    uint64_t virtual_time = kNoTime;
    uint64_t wall_time = kNoTime;
    uint64_t commit = 0;
    uint64_t input_sequence = 0;
    uint32_t path = 0;
    uint32_t reason = 0;
    uint32_t dropped = 0;
    std::vector<Rectangle> damage;
};

enum class EndReason : uint32_t { stream = 1, exited = 2, crashed = 3, stopped = 4, failed = 5 };

struct End {
    static constexpr uint16_t type = 0x0206;
    uint32_t reason = static_cast<uint32_t>(EndReason::stream);
    int32_t value = 0;
    std::string text;
};

struct Refused {
    static constexpr uint16_t type = 0x0207;
    uint64_t number = 0;
    uint32_t what = 0;
    std::string text;
};

using Message = std::variant<Failure, Hello, Credits, Release, Input, Step, Welcome, Stream, Slot,
                             SlotGone, Frame, End, Refused>;

/** A message of a packet and which of the packet's descriptors are its. */
struct Received {
    Message message;
    size_t first_fd = 0;
    size_t fds = 0;
};

/**
 * The messages of a packet, in order; those of unknown types are left out. Fault::protocol, with
 * what is wrong with it, for a malformed one. `fds` is how many descriptors came with it.
 */
Result<std::vector<Received>> decode(std::span<const std::byte> packet, size_t fds);

/**
 * Puts messages together to a packet. Texts are cut at their limit; all else must be within its
 * limits.
 */
class PacketWriter {
public:
    /** `fds` is how many of the packet's descriptors, after those so far, belong to it. */
    void add(const Message& message, uint16_t fds = 0);
    bool empty() const { return bytes_.empty(); }
    std::span<const std::byte> bytes() const { return bytes_; }
    std::vector<std::byte> take() { return std::move(bytes_); }

private:
    std::vector<std::byte> bytes_;
};

/** One message as a packet. */
std::vector<std::byte> encode(const Message& message, uint16_t fds = 0);

}  // namespace stepscope::wire
