// SPDX-License-Identifier: LGPL-2.1-or-later
// Packets of the frame socket. The first byte is how many descriptors came.
#include <algorithm>
#include <cstdint>

#include "base/frame_wire.hpp"
#include "tests/fuzz/expect.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace stepscope;
    if (size == 0) {
        return 0;
    }
    const size_t fds = data[0] % (wire::kMaxPacketFds + 1);
    auto decoded = wire::decode(std::as_bytes(std::span(data + 1, size - 1)), fds);
    if (!decoded) {
        expect(decoded.error().fault == Fault::protocol && !decoded.error().message.empty());
        return 0;
    }
    // What was understood can be said again, and means the same.
    size_t used = 0;
    wire::PacketWriter writer;
    for (const wire::Received& received : *decoded) {
        expect(received.first_fd >= used && received.first_fd + received.fds <= fds);
        used = received.first_fd + received.fds;
        writer.add(received.message, static_cast<uint16_t>(received.fds));
    }
    if (writer.empty()) {
        return 0;
    }
    size_t own = 0;
    for (const wire::Received& received : *decoded) {
        own += received.fds;
    }
    auto again = wire::decode(writer.bytes(), own);
    expect(again.has_value() && again->size() == decoded->size());
    wire::PacketWriter second;
    for (const wire::Received& received : *again) {
        second.add(received.message, static_cast<uint16_t>(received.fds));
    }
    expect(std::ranges::equal(second.bytes(), writer.bytes()));
    return 0;
}
