// SPDX-License-Identifier: LGPL-2.1-or-later
// wlscreencopysrc display=: pictures in DMA-BUFs that the consumer allocated.
#include <chrono>
#include <format>

#include "copying_display.hpp"
#include "tests/support/consumer_memory.hpp"

using namespace stepscope;
using namespace stepscope::test;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned kPictureSize = 64 * 48 * 4;

/** With a consumer that insists on DMA-BUFs and has some. */
struct Fixture : CopyingDisplay {
    ConsumerMemory consumer{
        [this](size_t size) { return std::move(must(udmabuf.allocate(size))).take(); }};
    SourcePipeline pipeline;

    explicit Fixture(unsigned max_buffers)
        : CopyingDisplay(true),
          pipeline(std::format("display={} max-buffers={}", fake.name(), max_buffers),
                   "! video/x-raw(memory:DMABuf)") {
        consumer.offer_pool(pipeline.pipeline(), kPictureSize, max_buffers);
        pipeline.play();
    }
    GstPtr<GstBuffer> copy(int pixel) { return CopyingDisplay::copy(pipeline, pixel); }
};

}  // namespace

TEST_CASE("the consumer's own DMA-BUFs are filled") {
    Fixture f(3);
    GstPtr<GstBuffer> held;  // makes buffers alternate
    for (int picture = 1; picture <= 50; ++picture) {
        const ino_t asked = f.wanted().inode();
        GstPtr<GstBuffer> buffer = f.copy(picture);
        CHECK(f.consumer.owns(buffer.get()));
        CHECK(dmabuf_of(buffer.get()).inode() == asked);
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
    PendingWork reading(f);
    reading.leave_with(f.copy(7).get());
    DmaBuf next = f.wanted();
    CHECK_FALSE(must(must(next.export_sync_file(BufferAccess::write)).wait(0ns)));
    must(reading.fence.signal());
    CHECK(must(must(next.export_sync_file(BufferAccess::write)).wait(1s)));
    CHECK(first_byte(f.copy(8).get()) == 8);
}
