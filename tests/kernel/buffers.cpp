// SPDX-License-Identifier: LGPL-2.1-or-later
// DMA-BUFs of udmabuf and dma-heap: whose memory they are, and how they tell who they are.
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/dma_heap.hpp"
#include "base/udmabuf.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {
constexpr size_t kPage = 4096;

void check_memory(const DmaBuf& buffer) {
    DmaBufMapping first = must(buffer.map(BufferAccess::read_write));
    DmaBufMapping second = must(buffer.map(BufferAccess::read));
    must(buffer.begin_cpu_access(BufferAccess::read_write));
    CHECK(std::ranges::all_of(first.bytes(), [](std::byte b) { return b == std::byte{0}; }));
    std::ranges::fill(first.bytes(), std::byte{0x5a});
    must(buffer.end_cpu_access(BufferAccess::read_write));
    CHECK(std::ranges::equal(first.bytes(), second.bytes()));
}

void check_identity(const DmaBuf& buffer, const DmaBuf& other) {
    DmaBuf duplicate = must(buffer.duplicate());
    CHECK(duplicate.fd() != buffer.fd());
    CHECK(duplicate.inode() == buffer.inode());
    CHECK(duplicate.size() == buffer.size());
    DmaBuf adopted = must(DmaBuf::adopt(UniqueFd::duplicate(buffer.fd())));
    CHECK(adopted.inode() == buffer.inode());
    CHECK(other.inode() != buffer.inode());
}
}  // namespace

TEST_CASE("udmabuf makes buffers that can be mapped and know who they are") {
    Udmabuf device = require_device(Udmabuf::open());
    DmaBuf buffer = must(device.allocate(3 * kPage - 1));
    CHECK(buffer.size() == 3 * kPage);
    check_memory(buffer);
    check_identity(buffer, must(device.allocate(kPage)));
}

TEST_CASE("a udmabuf is the memory of its memfd, not a copy") {
    Udmabuf device = require_device(Udmabuf::open());
    UniqueFd memory(::memfd_create("kernel-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(memory);
    REQUIRE(::ftruncate(memory.get(), 2 * kPage) == 0);
    SECTION("unsealed it is refused") {
        auto refused = device.wrap(memory.get(), 0, kPage);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().message.contains("sealed against shrinking"));
    }
    SECTION("sealed it is shared") {
        REQUIRE(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0);
        DmaBuf buffer = must(device.wrap(memory.get(), kPage, kPage));
        const char text[] = "written through the memfd";
        REQUIRE(::pwrite(memory.get(), text, sizeof(text), kPage) == sizeof(text));
        DmaBufMapping mapping = must(buffer.map(BufferAccess::read));
        must(buffer.begin_cpu_access(BufferAccess::read));
        CHECK(std::memcmp(mapping.bytes().data(), text, sizeof(text)) == 0);
        must(buffer.end_cpu_access(BufferAccess::read));
    }
}

TEST_CASE("a udmabuf can hold a 4K picture of 8 bytes a pixel") {
    Udmabuf device = require_device(Udmabuf::open());
    const size_t size = size_t{3840} * 2160 * 8;
    auto buffer = device.allocate(size);
    if (!buffer) {
        missing(buffer.error().message);
    }
    CHECK(buffer->size() == size);
}

TEST_CASE("the system heap makes buffers that can be mapped and know who they are") {
    DmaHeap heap = require_device(DmaHeap::open("system"));
    DmaBuf buffer = must(heap.allocate(2 * kPage));
    CHECK(buffer.size() == 2 * kPage);
    check_memory(buffer);
    check_identity(buffer, must(heap.allocate(kPage)));
}

TEST_CASE("a buffer's memory outlives its descriptor as long as it is mapped") {
    Udmabuf device = require_device(Udmabuf::open());
    auto mapping = [&] {
        DmaBuf buffer = must(device.allocate(kPage));
        return must(buffer.map(BufferAccess::read_write));
    }();
    mapping.bytes()[0] = std::byte{1};
    CHECK(mapping.bytes()[0] == std::byte{1});
}
