// SPDX-License-Identifier: LGPL-2.1-or-later
// wlscreencopysrc display=: pictures in DMA-BUFs that the consumer allocated.
#include <drm_fourcc.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/stepscope/stepscope.h>

#include <chrono>
#include <format>

#include "base/udmabuf.hpp"
#include "requirement.hpp"
#include "tests/support/consumer_memory.hpp"
#include "tests/support/drm_devices.hpp"
#include "tests/support/fake_display.hpp"
#include "tests/support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kPictureSize = 64 * 48 * 4;

/** A compositor that takes linear DMA-BUFs, and a consumer that insists on some and has them. */
struct Fixture {
    Vgem vgem = require_device(Vgem::open());
    Udmabuf udmabuf = require_device(Udmabuf::open());
    Environment environment;
    FakeDisplay fake{{.ext = 1, .wlr = 0, .dmabuf = true}};
    ConsumerMemory consumer{
        [this](size_t size) { return std::move(must(udmabuf.allocate(size))).take(); }};
    SourcePipeline pipeline;

    explicit Fixture(unsigned max_buffers)
        : pipeline(std::format("display={} max-buffers={}", fake.name(), max_buffers),
                   "! video/x-raw(memory:DMABuf)") {
        fake.dmabuf_formats = {{DRM_FORMAT_XRGB8888, DRM_FORMAT_MOD_LINEAR}};
        consumer.offer_pool(pipeline.pipeline(), kPictureSize, max_buffers);
        pipeline.play();
    }

    /** The memory that the compositor is to copy into. */
    DmaBuf wanted() {
        REQUIRE(fake.wait_until([&] { return fake.copy_wanted(); }));
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

}  // namespace

TEST_CASE("the consumer's own DMA-BUFs are filled") {
    Fixture f(3);
    GstPtr<GstBuffer> held;  // makes buffers alternate
    for (int picture = 1; picture <= 50; ++picture) {
        const ino_t asked = f.wanted().inode();
        GstPtr<GstBuffer> buffer = f.copy(picture);
        CHECK(f.consumer.owns(buffer.get()));
        const int fd = gst_dmabuf_memory_get_fd(gst_buffer_peek_memory(buffer.get(), 0));
        CHECK(must(DmaBuf::adopt(UniqueFd::duplicate(fd))).inode() == asked);
        CHECK(gst_stepscope_fence_is_ready(fence_of(buffer.get())));
        CHECK(first_byte(buffer.get()) == picture);
        held = std::move(buffer);
    }
    CHECK(f.consumer.made() <= 3);
    CHECK(f.pipeline.stat("imports") == f.consumer.made());
}

TEST_CASE("a copy into the consumer's DMA-BUF that is still being made") {
    Fixture f(1);
    Vgem::Fence drawing = must(f.vgem.attach(f.wanted(), BufferAccess::write));
    GstPtr<GstBuffer> buffer = f.copy(5);
    CHECK(f.consumer.owns(buffer.get()));
    CHECK_FALSE(gst_stepscope_fence_is_ready(fence_of(buffer.get())));
    must(drawing.signal());
    CHECK(gst_stepscope_fence_wait(fence_of(buffer.get()), GST_SECOND, nullptr, nullptr));
    CHECK(first_byte(buffer.get()) == 5);
}

TEST_CASE("who still reads the consumer's DMA-BUF is told to the compositor") {
    Fixture f(1);
    DmaBuf scratch = must(f.udmabuf.allocate(4096));
    Vgem::Fence reading = must(f.vgem.attach(scratch, BufferAccess::write));
    {
        GstPtr<GstBuffer> buffer = f.copy(7);
        SyncFile file = must(scratch.export_sync_file(BufferAccess::read));
        CHECK_FALSE(must(file.wait(0ns)));
        const int fd = std::move(file).take().take();
        REQUIRE(gst_stepscope_fence_add_release_fd(fence_of(buffer.get()), fd, nullptr));
    }
    DmaBuf next = f.wanted();
    CHECK_FALSE(must(must(next.export_sync_file(BufferAccess::write)).wait(0ns)));
    must(reading.signal());
    CHECK(must(must(next.export_sync_file(BufferAccess::write)).wait(1s)));
    CHECK(first_byte(f.copy(8).get()) == 8);
}
