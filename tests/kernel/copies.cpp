// SPDX-License-Identifier: LGPL-2.1-or-later
// wlscreencopysrc display=: the fences of DMA-BUFs that another compositor copies into.
#include <drm_fourcc.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/stepscope/stepscope.h>

#include <chrono>
#include <format>
#include <thread>

#include "base/udmabuf.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"
#include "tests/support/fake_display.hpp"
#include "tests/support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

/** A compositor that takes DMA-BUFs, or none, and a pipeline that insists on them. */
struct Fixture {
    Vgem vgem = require_device(Vgem::open());
    Udmabuf udmabuf = require_device(Udmabuf::open());
    Environment environment;
    FakeDisplay fake;
    SourcePipeline pipeline;

    explicit Fixture(bool takes_dmabuf)
        : fake({.ext = 1, .wlr = 0, .dmabuf = takes_dmabuf}),
          pipeline(std::format("display={} max-buffers=1", fake.name()),
                   "! video/x-raw(memory:DMABuf)") {
        if (takes_dmabuf) {
            fake.dmabuf_formats = {{DRM_FORMAT_XRGB8888, DRM_FORMAT_MOD_LINEAR}};
        }
        pipeline.play();
    }

    void wait_until_wanted() {
        REQUIRE(fake.wait_until([&] { return fake.copy_wanted(); }));
    }
    /** The memory that the compositor is to copy into. */
    DmaBuf wanted() {
        UniqueFd fd;
        fake.run([&] { fd = UniqueFd::duplicate(fake.wanted_dmabuf()); });
        return must(DmaBuf::adopt(std::move(fd)));
    }
    GstPtr<GstBuffer> copy(int pixel) {
        REQUIRE(fake.wait_until([&] { return fake.copy({.pixel = pixel}); }));
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        return buffer;
    }
};

GstStepscopeFence* fence_of(GstBuffer* buffer) {
    const GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer);
    REQUIRE(meta != nullptr);
    return meta->fence;
}

DmaBuf dmabuf_of(GstBuffer* buffer) {
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    REQUIRE(gst_is_dmabuf_memory(memory));
    return must(DmaBuf::adopt(UniqueFd::duplicate(gst_dmabuf_memory_get_fd(memory))));
}

/** Work of a GPU that the test ends. */
struct Work {
    DmaBuf scratch;
    Vgem::Fence fence;

    explicit Work(Fixture& f)
        : scratch(must(f.udmabuf.allocate(4096))),
          fence(must(f.vgem.attach(scratch, BufferAccess::write))) {}
    void leave_with(GstBuffer* buffer) const {
        SyncFile file = must(scratch.export_sync_file(BufferAccess::read));
        REQUIRE(gst_stepscope_fence_add_release_fd(fence_of(buffer), std::move(file).take().take(),
                                                   nullptr));
    }
};

}  // namespace

TEST_CASE("a copy that is still being made when it is said to be ready") {
    Fixture f(true);
    f.wait_until_wanted();
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
    Work reading(f);
    {
        GstPtr<GstBuffer> buffer = f.copy(7);
        reading.leave_with(buffer.get());
    }
    f.wait_until_wanted();
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
    Work reading(f);
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
