// SPDX-License-Identifier: LGPL-2.1-or-later
#include "frame_wire.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstring>
#include <format>
#include <string_view>

namespace stepscope::wire {
namespace {

constexpr size_t kHeader = 8;
constexpr size_t kAlignment = 8;
constexpr std::string_view kMagic = "STEPSOCK";

template <std::integral T>
T little(T value) {
    if constexpr (std::endian::native == std::endian::big) {
        return std::byteswap(value);
    }
    return value;
}

/** Writes the fields of a message in their order. */
class Writer {
public:
    static constexpr bool reading = false;

    explicit Writer(std::vector<std::byte>& bytes) : bytes_(bytes) {}

    template <std::integral T>
    void number(T& value) {
        const T stored = little(value);
        append(&stored, sizeof(stored));
    }
    void real(double& value) {
        auto bits = std::bit_cast<uint64_t>(value);
        number(bits);
    }
    template <std::integral T>
    void zero() {
        T nothing = 0;
        number(nothing);
    }
    void magic() { append(kMagic.data(), kMagic.size()); }
    void text_size(const std::string& text) {
        auto size = static_cast<uint32_t>(fitting(text).size());
        number(size);
    }
    void text(const std::string& text) {
        const std::string_view fits = fitting(text);
        append(fits.data(), fits.size());
    }
    void count_of(const std::vector<Rectangle>& list, size_t) {
        auto count = static_cast<uint32_t>(list.size());
        number(count);
    }
    void check(bool, const char*) {}

private:
    /** As much of a text as may be sent, cut between characters. */
    static std::string_view fitting(std::string_view text) {
        if (text.size() <= kMaxText) {
            return text;
        }
        size_t end = kMaxText;
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
            --end;
        }
        return text.substr(0, end);
    }
    void append(const void* data, size_t size) {
        const auto* first = static_cast<const std::byte*>(data);
        bytes_.insert(bytes_.end(), first, first + size);
    }

    std::vector<std::byte>& bytes_;
};

/** Reads them back, never beyond the message; the first thing that is wrong is kept. */
class Reader {
public:
    static constexpr bool reading = true;

    explicit Reader(std::span<const std::byte> body) : left_(body) {}

    template <std::integral T>
    void number(T& value) {
        T stored{};
        if (take(&stored, sizeof(stored))) {
            value = little(stored);
        }
    }
    void real(double& value) {
        uint64_t bits = 0;
        number(bits);
        value = std::bit_cast<double>(bits);
        check(std::isfinite(value), "a coordinate is not finite");
    }
    template <std::integral T>
    void zero() {
        T ignored{};
        number(ignored);
    }
    void magic() {
        std::array<char, kMagic.size()> found{};
        take(found.data(), found.size());
        check(std::string_view(found.data(), found.size()) == kMagic,
              "the hello does not begin with STEPSOCK");
    }
    void text_size(std::string&) {
        number(text_size_);
        check(text_size_ <= kMaxText, "a text is longer than 1024 bytes");
    }
    void text(std::string& text) {
        check(text_size_ <= left_.size(), "a text is longer than its message");
        if (!wrong_) {
            text.assign(reinterpret_cast<const char*>(left_.data()), text_size_);
            left_ = left_.subspan(text_size_);
            check(text.find('\0') == std::string::npos, "a text has a zero byte in it");
        }
    }
    void count_of(std::vector<Rectangle>& list, size_t limit) {
        uint32_t count = 0;
        number(count);
        check(count <= limit, "a list is longer than it may be");
        check(count <= left_.size() / sizeof(Rectangle), "a list is longer than its message");
        if (!wrong_) {
            list.resize(count);
        }
    }
    void check(bool holds, const char* what) {
        if (!holds && wrong_ == nullptr) {
            wrong_ = what;
        }
    }

    /** Null if all was well. */
    const char* wrong() const { return wrong_; }

private:
    bool take(void* target, size_t size) {
        check(size <= left_.size(), "a message is shorter than its type says");
        if (wrong_ != nullptr && size > left_.size()) {
            return false;
        }
        std::memcpy(target, left_.data(), size);
        left_ = left_.subspan(size);
        return true;
    }

    std::span<const std::byte> left_;
    uint32_t text_size_ = 0;
    const char* wrong_ = nullptr;
};

// The layouts, for reading and writing alike. check() only matters for what is read.

template <class IO>
void layout(IO& io, Failure& m) {
    io.number(m.code);
    io.text_size(m.text);
    io.text(m.text);
}

template <class IO>
void layout(IO& io, Hello& m) {
    io.magic();
    io.number(m.version_min);
    io.number(m.version_max);
    io.number(m.wants);
    io.number(m.capabilities);
    io.number(m.credits);
    io.text_size(m.name);
    io.text(m.name);
    io.check(m.version_min >= 1 && m.version_min <= m.version_max,
             "the hello's versions are no range from 1");
    io.check(m.credits <= kMaxCredits, "the hello grants more than 256 credits");
}

template <class IO>
void layout(IO& io, Credits& m) {
    io.number(m.count);
    io.template zero<uint32_t>();
}

template <class IO>
void layout(IO& io, Release& m) {
    io.number(m.frame);
}

template <class IO>
void layout(IO& io, Input& m) {
    io.number(m.kind);
    io.number(m.pressed);
    io.number(m.button);
    io.text_size(m.key);
    io.real(m.x);
    io.real(m.y);
    io.text(m.key);
    io.check(m.pressed <= 1, "an input is neither pressed nor released");
}

template <class IO>
void layout(IO& io, Step& m) {
    io.number(m.sequence);
    io.check(m.sequence != 0, "a step has no sequence");
}

template <class IO>
void layout(IO& io, Welcome& m) {
    io.number(m.version);
    io.template zero<uint16_t>();
    io.number(m.granted);
    io.number(m.capabilities);
    io.number(m.mode);
    io.number(m.max_credits);
    io.number(m.pid);
    io.template zero<uint32_t>();
}

template <class IO>
void layout(IO& io, Stream& m) {
    io.number(m.stream);
    io.number(m.memory);
    io.number(m.width);
    io.number(m.height);
    io.number(m.fourcc);
    io.number(m.flags);
    io.number(m.modifier);
    io.number(m.rate_numerator);
    io.number(m.rate_denominator);
    io.number(m.aspect_numerator);
    io.number(m.aspect_denominator);
    io.number(m.step_ns);
    io.number(m.clock);
    io.number(m.range);
    io.number(m.primaries);
    io.number(m.transfer);
    io.number(m.matrix);
    io.template zero<uint16_t>();
    for (uint16_t& value : m.mastering) {
        io.number(value);
    }
    io.number(m.mastering_max);
    io.number(m.mastering_min);
    io.number(m.max_cll);
    io.number(m.max_fall);
    io.template zero<uint32_t>();
    io.template zero<uint64_t>();
    io.check(m.width >= 1 && m.width <= UINT16_MAX && m.height >= 1 && m.height <= UINT16_MAX,
             "a side of the picture is not within 1 to 65535");
    io.check(m.rate_denominator != 0 && m.aspect_numerator != 0 && m.aspect_denominator != 0,
             "a fraction of the stream has a zero");
}

template <class IO>
void layout(IO& io, Slot& m) {
    io.number(m.slot);
    io.number(m.stream);
    io.number(m.planes);
    io.number(m.files);
    for (Slot::Plane& plane : m.plane) {
        io.number(plane.file);
        io.number(plane.stride);
        io.number(plane.offset);
    }
    for (uint64_t& size : m.file_size) {
        io.number(size);
    }
    io.check(m.planes >= 1 && m.planes <= 4 && m.files >= 1 && m.files <= 4,
             "a slot has not 1 to 4 planes and files");
    for (uint32_t index = 0; index < std::min<uint32_t>(m.planes, 4); ++index) {
        io.check(m.plane[index].file < m.files, "a plane lies in no file of its slot");
    }
}

template <class IO>
void layout(IO& io, SlotGone& m) {
    io.number(m.slot);
    io.template zero<uint32_t>();
}

template <class IO>
void layout(IO& io, Frame& m) {
    io.number(m.frame);
    io.number(m.slot);
    io.number(m.flags);
    for (uint64_t* value : {&m.answers, &m.step, &m.pts, &m.duration, &m.virtual_time, &m.wall_time,
                            &m.commit, &m.input_sequence}) {
        io.number(*value);
    }
    io.number(m.path);
    io.number(m.reason);
    io.number(m.dropped);
    io.count_of(m.damage, kMaxDamage);
    for (Rectangle& rectangle : m.damage) {
        for (uint32_t* value : {&rectangle.x, &rectangle.y, &rectangle.width, &rectangle.height}) {
            io.number(*value);
        }
    }
}

template <class IO>
void layout(IO& io, End& m) {
    io.number(m.reason);
    io.text_size(m.text);
    io.number(m.value);
    io.template zero<uint32_t>();
    io.text(m.text);
}

template <class IO>
void layout(IO& io, Refused& m) {
    io.number(m.number);
    io.number(m.what);
    io.text_size(m.text);
    io.text(m.text);
}

/** How many descriptors a message may have, from and to. */
std::pair<size_t, size_t> fd_range(const Message& message) {
    if (const auto* slot = std::get_if<Slot>(&message)) {
        return {slot->files, slot->files};
    }
    const bool fence =
        std::holds_alternative<Frame>(message) || std::holds_alternative<Release>(message);
    return {0, fence ? 1 : 0};
}

/** An empty message of the type; false if there is none. */
template <size_t Index = 0>
bool make(uint16_t type, Message& message) {
    if constexpr (Index < std::variant_size_v<Message>) {
        using Candidate = std::variant_alternative_t<Index, Message>;
        if (Candidate::type == type) {
            message.emplace<Index>();
            return true;
        }
        return make<Index + 1>(type, message);
    }
    return false;
}

std::unexpected<Error> malformed(size_t offset, uint16_t type, std::string_view what) {
    return fail(Fault::protocol,
                std::format("message 0x{:04x} at byte {}: {}", type, offset, what));
}

}  // namespace

Result<std::vector<Received>> decode(std::span<const std::byte> packet, size_t fds) {
    if (packet.empty() || packet.size() > kMaxPacket) {
        return fail(Fault::protocol, std::format("a packet of {} bytes; expected {} to {}",
                                                 packet.size(), kHeader, kMaxPacket));
    }
    std::vector<Received> messages;
    size_t used_fds = 0;
    for (size_t offset = 0; offset < packet.size();) {
        const std::span<const std::byte> rest = packet.subspan(offset);
        if (rest.size() < kHeader) {
            return fail(Fault::protocol, std::format("{} bytes at byte {} are no whole message",
                                                     rest.size(), offset));
        }
        Reader header(rest.first(kHeader));
        uint16_t type = 0;
        uint16_t own_fds = 0;
        uint32_t size = 0;
        header.number(type);
        header.number(own_fds);
        header.number(size);
        if (size < kHeader || size % kAlignment != 0 || size > rest.size()) {
            return malformed(offset, type,
                             std::format("its size is {}; expected a multiple of 8 from 8 to {}",
                                         size, rest.size()));
        }
        if (own_fds > fds - used_fds) {
            return malformed(
                offset, type,
                std::format("it should have {} descriptors, {} came", own_fds, fds - used_fds));
        }
        Received received{.message = {}, .first_fd = used_fds, .fds = own_fds};
        if (make(type, received.message)) {
            Reader body(rest.subspan(kHeader, size - kHeader));
            std::visit([&](auto& message) { layout(body, message); }, received.message);
            if (body.wrong() != nullptr) {
                return malformed(offset, type, body.wrong());
            }
            const auto [least, most] = fd_range(received.message);
            if (own_fds < least || own_fds > most) {
                return malformed(
                    offset, type,
                    std::format("it has {} descriptors; expected {} to {}", own_fds, least, most));
            }
            messages.push_back(std::move(received));
        }
        used_fds += own_fds;
        offset += size;
    }
    if (used_fds != fds) {
        return fail(Fault::protocol, std::format("{} descriptors came with a packet whose messages "
                                                 "have {}",
                                                 fds, used_fds));
    }
    return messages;
}

void PacketWriter::add(const Message& message, uint16_t fds) {
    const size_t begin = bytes_.size();
    Writer writer(bytes_);
    uint16_t type = 0;
    uint32_t size = 0;
    std::visit([&](const auto& m) { type = m.type; }, message);
    writer.number(type);
    writer.number(fds);
    writer.number(size);
    std::visit(
        [&](const auto& m) {
            // The layout is shared with the reader, which changes its message; this one is not.
            layout(writer, const_cast<std::remove_cvref_t<decltype(m)>&>(m));
        },
        message);
    bytes_.resize((bytes_.size() + kAlignment - 1) / kAlignment * kAlignment);
    size = little(static_cast<uint32_t>(bytes_.size() - begin));
    std::memcpy(bytes_.data() + begin + 4, &size, sizeof(size));
}

std::vector<std::byte> encode(const Message& message, uint16_t fds) {
    PacketWriter writer;
    writer.add(message, fds);
    return writer.take();
}

}  // namespace stepscope::wire
