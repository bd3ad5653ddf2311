// SPDX-License-Identifier: LGPL-2.1-or-later
// Implicit fences of DMA-BUFs as sync_files, with fences that are late on purpose.
#include <chrono>

#include "base/udmabuf.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {
struct Fixture {
    Vgem vgem = require_device(Vgem::open());
    Udmabuf udmabuf = require_device(Udmabuf::open());
    DmaBuf buffer = must(udmabuf.allocate(4096));
};
}  // namespace

TEST_CASE("a buffer that nobody uses has nothing to wait for") {
    Fixture f;
    SyncFile fence = must(f.buffer.export_sync_file(BufferAccess::read_write));
    CHECK(must(fence.status()) == FenceStatus::signaled);
    CHECK(must(fence.wait(0ns)));
}

TEST_CASE("a late fence keeps readers waiting until it is signalled") {
    Fixture f;
    Vgem::Fence late = must(f.vgem.attach(f.buffer, BufferAccess::write));
    SyncFile fence = must(f.buffer.export_sync_file(BufferAccess::read));
    CHECK(must(fence.status()) == FenceStatus::pending);
    CHECK_FALSE(must(fence.wait(0ns)));
    CHECK_FALSE(must(fence.wait(20ms)));
    must(late.signal());
    CHECK(must(fence.wait(std::nullopt)));
    CHECK(must(fence.status()) == FenceStatus::signaled);
}

TEST_CASE("readers do not wait for readers, writers do") {
    Fixture f;
    Vgem::Fence reading = must(f.vgem.attach(f.buffer, BufferAccess::read));
    CHECK(must(must(f.buffer.export_sync_file(BufferAccess::read)).wait(0ns)));
    SyncFile for_writers = must(f.buffer.export_sync_file(BufferAccess::write));
    CHECK_FALSE(must(for_writers.wait(0ns)));
    must(reading.signal());
    CHECK(must(for_writers.wait(std::nullopt)));
}

TEST_CASE("a fence can be put on another buffer") {
    Fixture f;
    DmaBuf other = must(f.udmabuf.allocate(4096));
    Vgem::Fence late = must(f.vgem.attach(f.buffer, BufferAccess::write));
    must(other.import_sync_file(must(f.buffer.export_sync_file(BufferAccess::read)),
                                BufferAccess::write));
    SyncFile fence = must(other.export_sync_file(BufferAccess::read));
    CHECK_FALSE(must(fence.wait(0ns)));
    must(late.signal());
    CHECK(must(fence.wait(std::nullopt)));
}

TEST_CASE("a merged fence waits for both") {
    Fixture f;
    DmaBuf other = must(f.udmabuf.allocate(4096));
    Vgem::Fence first = must(f.vgem.attach(f.buffer, BufferAccess::write));
    Vgem::Fence second = must(f.vgem.attach(other, BufferAccess::write));
    SyncFile merged = must(SyncFile::merge(must(f.buffer.export_sync_file(BufferAccess::read)),
                                           must(other.export_sync_file(BufferAccess::read))));
    must(first.signal());
    CHECK(must(merged.status()) == FenceStatus::pending);
    must(second.signal());
    CHECK(must(merged.wait(std::nullopt)));
    CHECK(must(must(merged.duplicate()).status()) == FenceStatus::signaled);
}
