// SPDX-License-Identifier: LGPL-2.1-or-later
// What the owners of DMA-BUFs, fences and timelines say where there are none. What they do with
// real ones is tested in tests/kernel.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "base/dma_heap.hpp"
#include "base/dmabuf.hpp"
#include "base/page_size.hpp"
#include "base/sync_file.hpp"
#include "base/timeline.hpp"
#include "base/udmabuf.hpp"

using namespace stepscope;

namespace {
UniqueFd memory() {
    return UniqueFd(::memfd_create("unit", MFD_CLOEXEC));
}
UniqueFd event() {
    return UniqueFd(::eventfd(0, EFD_CLOEXEC));
}
constexpr size_t kHuge = std::numeric_limits<size_t>::max();
}  // namespace

TEST_CASE("only a DMA-BUF is adopted as one") {
    for (auto make : {memory, event}) {
        auto refused = DmaBuf::adopt(make());
        REQUIRE_FALSE(refused);
        CHECK(refused.error().fault == Fault::protocol);
        CHECK(refused.error().message.contains("expected a DMA-BUF"));
    }
    auto nothing = DmaBuf::adopt(UniqueFd());
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().os_errno == EBADF);
}

TEST_CASE("only a sync_file is adopted as one") {
    for (auto make : {memory, event}) {
        auto refused = SyncFile::adopt(make());
        REQUIRE_FALSE(refused);
        CHECK(refused.error().fault == Fault::protocol);
        CHECK(refused.error().message.contains("expected a sync_file"));
    }
    auto nothing = SyncFile::adopt(UniqueFd());
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().os_errno == EBADF);
}

TEST_CASE("a refused descriptor is closed") {
    const int number = ::memfd_create("unit", MFD_CLOEXEC);
    REQUIRE(number >= 0);
    CHECK_FALSE(DmaBuf::adopt(UniqueFd(number)));
    CHECK(::fcntl(number, F_GETFD) == -1);
}

TEST_CASE("timelines need a DRM device") {
    UniqueFd no_device = event();
    CHECK_FALSE(Timeline::supported(no_device.get()));
    CHECK_FALSE(Timeline::supported(-1));
    CHECK(Timeline::create(no_device.get()).error().fault == Fault::unsupported);
    CHECK(Timeline::import(no_device.get(), no_device.get()).error().fault == Fault::unsupported);
}

TEST_CASE("a missing udmabuf device is named") {
    auto missing = Udmabuf::open("/nonexistent/udmabuf");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().fault == Fault::not_found);
    CHECK(missing.error().message.contains("/nonexistent/udmabuf"));
}

TEST_CASE("what is no udmabuf device allocates nothing") {
    auto device = Udmabuf::open("/dev/null");
    REQUIRE(device);
    CHECK(device->allocate(0).error().fault == Fault::usage);
    CHECK(device->allocate(kHuge).error().fault == Fault::usage);
    auto refused = device->allocate(1);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().os_errno == ENOTTY);
    CHECK(device->wrap(-1, 0, 4096).error().os_errno == ENOTTY);
}

TEST_CASE("heaps are names, not paths") {
    for (const char* name : {"", "../null", "a/b"}) {
        CHECK(DmaHeap::open(name).error().fault == Fault::usage);
    }
    auto missing = DmaHeap::open("no-such-heap");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().fault == Fault::not_found);
    CHECK(missing.error().message.contains("/dev/dma_heap/no-such-heap"));
}

TEST_CASE("sizes are rounded up to pages") {
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    CHECK(round_up_to_pages(1) == page);
    CHECK(round_up_to_pages(page) == page);
    CHECK(round_up_to_pages(page + 1) == 2 * page);
    CHECK_FALSE(round_up_to_pages(0));
    CHECK_FALSE(round_up_to_pages(kHuge));
}
