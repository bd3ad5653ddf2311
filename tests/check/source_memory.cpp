// SPDX-License-Identifier: LGPL-2.1-or-later
// Whose memory buffers carry, and when it goes back.
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>

#include <catch2/catch_test_macros.hpp>
#include <set>

#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;

namespace {

GstMemory* memory_of(const GstPtr<GstBuffer>& buffer) {
    return gst_buffer_peek_memory(buffer.get(), 0);
}

/** Sends a frame as soon as the element takes one. */
void send(FakeCompositor& fake, const FakeFrame& frame = {}) {
    REQUIRE(fake.wait_until([&] { return fake.send_frame(frame); }));
}

}  // namespace

TEST_CASE("a slot has one memory for its life") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    std::set<GstMemory*> memories;
    GstPtr<GstBuffer> held;  // makes slots alternate
    for (int frame = 0; frame < 1000; ++frame) {
        send(fake);
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        REQUIRE(gst_buffer_n_memory(buffer.get()) == 1);
        memories.insert(memory_of(buffer));
        held = std::move(buffer);
    }
    size_t slots = 0;
    fake.run([&] { slots = fake.slots(); });
    CHECK(slots >= 2);
    CHECK(memories.size() == slots);
    CHECK(pipeline.stat("imports") == slots);
    CHECK(pipeline.stat("frames") == 1000);
    CHECK(pipeline.stat("passed-through") == 1000);
    CHECK(pipeline.stat("copied") == 0);
    held.reset();
    CHECK(fake.wait_until([&] { return fake.held() == 0; }));
    CHECK(fake.wait_until([&] { return fake.credits() == 4; }));
    fake.run([&] { CHECK(fake.bad_releases() == 0); });
}

TEST_CASE("a picture in memory that is held takes over from the one before") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline("max-buffers=2");
    pipeline.play();
    send(fake);
    GstPtr<GstBuffer> held = pipeline.pull();
    REQUIRE(held);
    for (int frame = 0; frame < 10; ++frame) {
        REQUIRE(fake.wait_until([&] { return fake.credits() > 0; }));
        fake.run([&] { fake.send_frame_in(1); });
        GstPtr<GstBuffer> next = pipeline.pull();
        REQUIRE(next);
        CHECK(memory_of(next) == memory_of(held));
        CHECK(fake.wait_until([&] { return fake.held() == 1; }));
    }
    held.reset();
    CHECK(fake.wait_until([&] { return fake.held() == 0 && fake.credits() == 2; }));
    fake.run([&] { CHECK(fake.bad_releases() == 0); });
}

TEST_CASE("a held buffer is released once, by the last reference, on any thread") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake, {.pixel = 7});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 7);

    // The memory outlives its buffer.
    GstPtr<GstMemory> memory(gst_memory_ref(memory_of(buffer)));
    GstPtr<GstMemory> part(gst_memory_share(memory.get(), 0, 16));
    buffer.reset();
    memory.reset();
    CHECK(pipeline.is_silent());
    fake.run([&] { CHECK(fake.releases() == 0); });

    std::thread other([&] { part.reset(); });
    other.join();
    CHECK(fake.wait_until([&] { return fake.releases() == 1; }));
    CHECK(fake.wait_until([&] { return fake.credits() == 4; }));
    fake.run([&] { CHECK(fake.bad_releases() == 0); });
}

TEST_CASE("no more frames are in flight than max-buffers") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline("max-buffers=2");
    pipeline.play();
    send(fake);
    send(fake);
    GstPtr<GstBuffer> first = pipeline.pull();
    GstPtr<GstBuffer> second = pipeline.pull();
    fake.run([&] { CHECK(fake.credits() == 0); });
    first.reset();
    CHECK(fake.wait_until([&] { return fake.credits() == 1; }));
}

TEST_CASE("a slot that is used again while it is held is released for both frames") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake);
    GstPtr<GstBuffer> first = pipeline.pull();
    fake.run([&] { fake.send_frame_in(1); });
    GstPtr<GstBuffer> second = pipeline.pull();
    REQUIRE(second);
    CHECK(memory_of(first) == memory_of(second));
    // The second holds the memory for both; the first need not any more.
    CHECK(fake.wait_until([&] { return fake.releases() == 1; }));
    first.reset();
    fake.run([&] { CHECK(fake.is_held(1)); });
    second.reset();
    CHECK(fake.wait_until([&] { return fake.releases() == 2; }));
}

TEST_CASE("pictures can't be written to") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake, {.pixel = 3});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    GstMapInfo map;
    CHECK_FALSE(gst_memory_map(memory_of(buffer), &map, GST_MAP_WRITE));
    CHECK(first_byte(buffer.get()) == 3);
}

TEST_CASE("a buffer that is held past the end stays as it is, then everything is closed") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline warm_up;  // whatever GStreamer opens once is open now
    warm_up.play();
    send(fake);
    REQUIRE(warm_up.pull());
    warm_up.stop();
    REQUIRE(fake.wait_until([&] { return fake.clients() == 0; }));
    size_t baseline = 0;
    fake.run([&] { baseline = open_fds() - fake.slots(); });

    GstPtr<GstBuffer> buffer;
    {
        SourcePipeline pipeline;
        pipeline.play();
        send(fake, {.pixel = 9});
        buffer = pipeline.pull();
        REQUIRE(buffer);
        send(fake);  // one more on its way
        pipeline.stop();
    }
    CHECK(fake.wait_until([&] { return fake.held() == 1; }));
    fake.run([&] {
        CHECK(fake.clients() == 1);
        CHECK_FALSE(fake.started());
        CHECK(fake.is_held(1 + 1));  // the slot of the first frame of this capture
    });
    CHECK(first_byte(buffer.get()) == 9);

    std::thread other([&] { buffer.reset(); });
    other.join();
    CHECK(fake.wait_until([&] { return fake.clients() == 0; }));
    fake.run([&] {
        CHECK(fake.bad_releases() == 0);
        CHECK(open_fds() - fake.slots() <= baseline);
    });
}

TEST_CASE("a slot that is gone lives until its frame is released") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake, {.pixel = 5});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    fake.run([&] { fake.remove_slot(1); });
    send(fake, {.pixel = 6});
    GstPtr<GstBuffer> next = pipeline.pull();
    REQUIRE(next);
    CHECK(first_byte(buffer.get()) == 5);
    CHECK(first_byte(next.get()) == 6);
    CHECK(pipeline.stat("imports") == 2);
    buffer.reset();
    CHECK(fake.wait_until([&] { return fake.releases() == 1; }));
}

TEST_CASE("two branches share a picture") {
    Environment environment;
    FakeCompositor fake;
    auto pipeline = SourcePipeline::parse(
        std::string("wlscreencopysrc name=src ! tee name=t t. ! queue ! ") + kSink +
        " t. ! queue ! fakesink name=other sync=false async=false enable-last-sample=true");
    pipeline.play();
    send(fake);
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(pipeline.stat("imports") == 1);
    CHECK(pipeline.stat("copied") == 0);
    buffer.reset();
    CHECK(pipeline.is_silent());
    fake.run([&] { CHECK(fake.releases() == 0); });  // the other branch still shows it
    pipeline.stop();
    CHECK(fake.wait_until([&] { return fake.clients() == 0; }));
}

TEST_CASE("the frame meta travels with copies") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake, {.path = 2, .reason = 1});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    GstPtr<GstBuffer> copy(gst_buffer_copy_deep(buffer.get()));
    for (GstBuffer* one : {buffer.get(), copy.get()}) {
        GstStepscopeFrameMeta* meta = gst_buffer_get_stepscope_frame_meta(one);
        REQUIRE(meta != nullptr);
        CHECK(meta->commit_id == 1);
        CHECK(meta->path == GST_STEPSCOPE_FRAME_PATH_COMPOSED);
        CHECK(meta->reason == GST_STEPSCOPE_FRAME_REASON_WINDOWS);
        CHECK_FALSE(meta->repeated);
    }
    CHECK(pipeline.stat("composed") == 1);
}
