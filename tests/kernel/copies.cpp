// SPDX-License-Identifier: LGPL-2.1-or-later
// wlscreencopysrc display=: the fences of DMA-BUFs that another compositor copies into.
#include <chrono>
#include <format>
#include <thread>

#include "copying_display.hpp"

using namespace stepscope;
using namespace stepscope::test;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

/** With a pipeline that insists on DMA-BUFs, whether the compositor takes them or not. */
struct Fixture : CopyingDisplay {
    SourcePipeline pipeline{std::format("display={} max-buffers=1", fake.name()),
                            "! video/x-raw(memory:DMABuf)"};

    explicit Fixture(bool takes_dmabuf) : CopyingDisplay(takes_dmabuf) { pipeline.play(); }
    GstPtr<GstBuffer> copy(int pixel) { return CopyingDisplay::copy(pipeline, pixel); }
};

}  // namespace

TEST_CASE("a copy that is still being made when it is said to be ready") {
    Fixture f(true);
    Vgem::Fence drawing = must(f.vgem.attach(f.wanted(), BufferAccess::write));
    GstPtr<GstBuffer> buffer = f.copy(5);
    CHECK_FALSE(gst_stepscope_fence_is_ready(fence_of(buffer.get())));
    CHECK(f.pipeline.stat("fences") == 1);
    must(drawing.signal());
    CHECK(gst_stepscope_fence_wait(fence_of(buffer.get()), GST_SECOND, nullptr, nullptr));
    CHECK(first_byte(buffer.get()) == 5);
}

TEST_CASE("a copy that is finished has nothing to wait for") {
    Fixture f(true);
    GstPtr<GstBuffer> buffer = f.copy(6);
    CHECK(gst_stepscope_fence_is_ready(fence_of(buffer.get())));
    CHECK(f.pipeline.stat("fences") == 0);
    CHECK(first_byte(buffer.get()) == 6);
}

TEST_CASE("a compositor finds in the DMA-BUF who still reads it") {
    Fixture f(true);
    PendingWork reading(f);
    {
        GstPtr<GstBuffer> buffer = f.copy(7);
        reading.leave_with(buffer.get());
    }
    DmaBuf next = f.wanted();
    CHECK_FALSE(must(must(next.export_sync_file(BufferAccess::write)).wait(0ns)));
    CHECK(must(must(next.export_sync_file(BufferAccess::read)).wait(0ns)));
    must(reading.fence.signal());
    CHECK(must(must(next.export_sync_file(BufferAccess::write)).wait(1s)));
    CHECK(first_byte(f.copy(8).get()) == 8);
}

TEST_CASE("shared memory is handed out as DMA-BUF") {
    Fixture f(false);
    ino_t inode = 0;
    for (int picture = 1; picture <= 20; ++picture) {
        GstPtr<GstBuffer> buffer = f.copy(picture);
        CHECK(first_byte(buffer.get()) == picture);
        CHECK(gst_stepscope_fence_is_ready(fence_of(buffer.get())));
        DmaBuf memory = dmabuf_of(buffer.get());
        CHECK((inode == 0 || memory.inode() == inode));
        inode = memory.inode();
    }
    CHECK(f.pipeline.stat("imports") == 1);
}

TEST_CASE("a compositor that looks for no fences does not get what is still read") {
    Fixture f(false);
    PendingWork reading(f);
    SECTION("by who says so in the fence meta") {
        reading.leave_with(f.copy(9).get());
    }
    SECTION("by a driver, which says so in the DMA-BUF") {
        GstPtr<GstBuffer> buffer = f.copy(9);
        must(dmabuf_of(buffer.get())
                 .import_sync_file(must(reading.scratch.export_sync_file(BufferAccess::read)),
                                   BufferAccess::read));
    }
    std::this_thread::sleep_for(200ms);
    f.fake.run([&] { CHECK_FALSE(f.fake.copy_wanted()); });
    must(reading.fence.signal());
    CHECK(first_byte(f.copy(10).get()) == 10);
}
