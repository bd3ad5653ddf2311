// SPDX-License-Identifier: LGPL-2.1-or-later
// display=: pictures in memory that downstream allocates.
#include <drm_fourcc.h>
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <format>
#include <set>

#include "support/consumer_memory.hpp"
#include "support/fake_display.hpp"
#include "support/fake_dmabuf.hpp"
#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr unsigned kPictureSize = 64 * 48 * 4;

/** A compositor that takes linear DMA-BUFs, and a consumer that has some. */
struct Fixture {
    Environment environment;
    FakeDisplay fake{{.ext = 1, .wlr = 0, .dmabuf = true}};
    ConsumerMemory consumer{make_sealed_file};
    SourcePipeline pipeline;

    explicit Fixture(const std::string& options = "", const std::string& middle = "")
        : pipeline(std::format("display={} {}", fake.name(), options), middle) {
        fake.dmabuf_formats = {{DRM_FORMAT_XRGB8888, DRM_FORMAT_MOD_LINEAR}};
    }

    GstPtr<GstBuffer> copy(int pixel) {
        REQUIRE(fake.wait_until([&] { return fake.copy({.pixel = pixel}); }));
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK(first_byte(buffer.get()) == pixel);
        return buffer;
    }

    /** The allocator that the source names, and why, after "own: ". */
    std::string allocator() {
        GstPtr<GstMessage> message = pipeline.wait_message(GST_MESSAGE_ELEMENT, "stepscope-path");
        REQUIRE(message);
        const GstStructure* facts = gst_message_get_structure(message.get());
        return std::format("{} {}: {}", gst_structure_get_string(facts, "memory"),
                           gst_structure_get_string(facts, "allocator"),
                           gst_structure_get_string(facts, "allocator-reason"));
    }
};

}  // namespace

TEST_CASE("pictures are copied into buffers of downstream's pool") {
    Fixture f("max-buffers=3");
    f.consumer.offer_video_pool(f.pipeline.pipeline());
    f.pipeline.play();
    std::set<const GstMemory*> memories;
    GstPtr<GstBuffer> held;  // makes buffers alternate
    for (int picture = 1; picture <= 50; ++picture) {
        REQUIRE(f.fake.wait_until([&] { return f.fake.copy_wanted(); }));
        f.fake.run([&] { CHECK(f.consumer.owns(f.fake.wanted_dmabuf())); });
        GstPtr<GstBuffer> buffer = f.copy(picture);
        CHECK(f.consumer.owns(buffer.get()));
        CHECK(f.consumer.is_of_pool(buffer.get()));
        CHECK(gst_buffer_get_stepscope_frame_meta(buffer.get())->path ==
              GST_STEPSCOPE_FRAME_PATH_COPIED);
        memories.insert(gst_buffer_peek_memory(buffer.get(), 0));
        held = std::move(buffer);
    }
    CHECK(f.allocator() == "dmabuf downstream: ");
    CHECK(memories.size() == f.consumer.made());
    CHECK(f.pipeline.stat("imports") == f.consumer.made());
    CHECK(f.consumer.made() <= 4);
}

TEST_CASE("by an allocator of downstream") {
    Fixture f;
    f.consumer.offer_allocator(f.pipeline.pipeline());
    f.pipeline.play();
    for (int picture = 1; picture <= 20; ++picture) {
        GstPtr<GstBuffer> buffer = f.copy(picture);
        CHECK(f.consumer.owns(buffer.get()));
        const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer.get());
        REQUIRE(meta != nullptr);
        CHECK(meta->stride[0] == 256);
    }
    CHECK(f.allocator() == "dmabuf downstream: ");
    CHECK(f.consumer.made() <= 5);
}

TEST_CASE("rows of downstream's memory are where its buffers say") {
    Fixture f;
    f.consumer.offer_video_pool(f.pipeline.pipeline(), 16);
    f.pipeline.play();
    REQUIRE(f.fake.wait_until([&] { return f.fake.copy_wanted(); }));
    f.fake.run([&] { CHECK(f.fake.wanted_stride() == (64 + 16) * 4); });
    GstPtr<GstBuffer> buffer = f.copy(1);
    const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer.get());
    REQUIRE(meta != nullptr);
    CHECK(meta->stride[0] == (64 + 16) * 4);
    CHECK(f.consumer.owns(buffer.get()));
}

TEST_CASE("a buffer of downstream is not copied into while somebody holds it") {
    Fixture f("max-buffers=4");
    f.consumer.offer_video_pool(f.pipeline.pipeline(), 0, 2);  // its pool is the smaller
    f.pipeline.play();
    GstPtr<GstBuffer> first = f.copy(1);
    GstPtr<GstBuffer> second = f.copy(2);
    CHECK(f.pipeline.is_silent());
    f.fake.run([&] { CHECK_FALSE(f.fake.copy_wanted()); });
    CHECK(first_byte(first.get()) == 1);
    first.reset();
    GstPtr<GstBuffer> third = f.copy(3);
    CHECK(first_byte(second.get()) == 2);
    CHECK(f.consumer.made() == 2);
    f.pipeline.stop();
    CHECK(first_byte(second.get()) == 2);
}

TEST_CASE("copies of downstream's buffers, and repeats, keep the memory from the pool") {
    Fixture f("max-buffers=2", "! video/x-raw,framerate=50/1");
    f.consumer.offer_video_pool(f.pipeline.pipeline());
    f.pipeline.play();
    for (int picture = 1; picture <= 20; ++picture) {
        REQUIRE(f.fake.wait_until([&] { return f.fake.copy({.pixel = picture}); }));
        GstPtr<GstBuffer> buffer;
        do {
            buffer = f.pipeline.pull();
            REQUIRE(buffer);
            CHECK(f.consumer.owns(buffer.get()));
        } while (first_byte(buffer.get()) != picture);
    }
    CHECK(f.consumer.made() <= 4);  // one more for repeats, one on its way back
}

TEST_CASE("why pictures are not in memory of downstream") {
    SECTION("which proposes none") {
        Fixture f;
        f.pipeline.play();
        f.copy(1);
        CHECK(f.allocator() == "memfd own: downstream proposes none");
    }
    SECTION("which is not for devices") {
        Fixture f;
        f.consumer.offer_system_pool(f.pipeline.pipeline());
        f.pipeline.play();
        CHECK_FALSE(f.consumer.is_of_pool(f.copy(1).get()));
        CHECK(f.allocator() == "memfd own: downstream's memory is no DMA-BUF");
    }
    SECTION("which is too small") {
        Fixture f;
        f.consumer.offer_pool(f.pipeline.pipeline(), kPictureSize - 1);
        f.pipeline.play();
        f.copy(1);
        CHECK_THAT(f.allocator(), ContainsSubstring("own: downstream's buffers are too small"));
    }
    SECTION("of which the compositor takes none") {
        Fixture f;
        f.fake.dmabuf_formats.clear();
        f.consumer.offer_video_pool(f.pipeline.pipeline());
        f.pipeline.play();
        CHECK_FALSE(f.consumer.owns(f.copy(1).get()));
        CHECK_THAT(f.allocator(), ContainsSubstring("own: the compositor takes no DMA-BUFs"));
    }
    SECTION("which the compositor refuses") {
        Fixture f;
        f.fake.run([] { refuse_fake_dmabufs(true); });
        f.consumer.offer_video_pool(f.pipeline.pipeline());
        f.pipeline.play();
        f.copy(1);
        CHECK_THAT(f.allocator(), ContainsSubstring("does not take these DMA-BUFs"));
        f.fake.run([] { refuse_fake_dmabufs(false); });
    }
    SECTION("that has room for a part of the picture only") {
        Fixture f("region=\"16,8,32,16\"");
        f.consumer.offer_video_pool(f.pipeline.pipeline());
        f.pipeline.play();
        f.copy(1);
        CHECK_THAT(f.allocator(), ContainsSubstring("own: region= is cut out"));
    }
    SECTION("because it is to be copied anyway") {
        Fixture f("zero-copy=off");
        f.consumer.offer_video_pool(f.pipeline.pipeline());
        f.pipeline.play();
        f.copy(1);
        CHECK(f.consumer.made() == 0);
    }
}

TEST_CASE("memory of downstream for other constraints") {
    Fixture f;
    f.consumer.offer_allocator(f.pipeline.pipeline());
    f.pipeline.play();
    CHECK(f.consumer.owns(f.copy(1).get()));
    REQUIRE(f.fake.wait_until([&] { return f.fake.copy_wanted(); }));
    f.fake.run([&] {
        f.fake.width = 128;
        f.fake.height = 32;
        f.fake.fail_copy(1);
        f.fake.send_constraints();
    });
    // The first of the new size was under way before downstream could be asked.
    GstPtr<GstBuffer> buffer;
    for (int picture = 2; picture <= 4; ++picture) {
        buffer = f.copy(picture);
        CHECK_THAT(f.pipeline.caps(), ContainsSubstring("width=(int)128, height=(int)32"));
    }
    CHECK(f.consumer.owns(buffer.get()));
}

TEST_CASE("captures into memory of downstream leak nothing") {
    Fixture f;
    f.consumer.offer_allocator(f.pipeline.pipeline());
    size_t baseline = 0;
    for (int cycle = 0; cycle < 6; ++cycle) {
        f.pipeline.play();
        f.copy(1);
        f.pipeline.stop();
        REQUIRE(f.fake.wait_until([&] { return f.fake.clients() == 0; }));
        if (cycle == 0) {
            baseline = open_fds();  // whatever GStreamer opens once is open now
        }
        CHECK(open_fds() <= baseline);
    }
}
