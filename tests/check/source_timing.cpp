// SPDX-License-Identifier: LGPL-2.1-or-later
// Timestamps, constant rates and latency.
#include <gst/stepscope/stepscope.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>

#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;

namespace {

GstClockTime now_ns() {
    return static_cast<GstClockTime>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

void send(FakeCompositor& fake, const FakeFrame& frame = {}) {
    REQUIRE(fake.wait_until([&] { return fake.send_frame(frame); }));
}

GstClockTime reference_of(const GstPtr<GstBuffer>& buffer) {
    GstPtr<GstCaps> caps(gst_caps_from_string("timestamp/x-system-monotonic"));
    auto* meta = gst_buffer_get_reference_timestamp_meta(buffer.get(), caps.get());
    return meta != nullptr ? meta->timestamp : GST_CLOCK_TIME_NONE;
}

bool is_gap(const GstPtr<GstBuffer>& buffer) {
    return GST_BUFFER_FLAG_IS_SET(buffer.get(), GST_BUFFER_FLAG_GAP);
}

}  // namespace

TEST_CASE("the time of a picture is the time of its presentation") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    // Old pictures are not older than the stream.
    send(fake, {.time_ns = 1});
    GstPtr<GstBuffer> first = pipeline.pull();
    REQUIRE(first);
    CHECK(reference_of(first) == 1);
    const GstClockTime base = gst_element_get_base_time(pipeline.source());
    CHECK(GST_BUFFER_PTS(first.get()) <= now_ns() - base);
    CHECK(GST_BUFFER_OFFSET(first.get()) == 0);
    CHECK(GST_BUFFER_DURATION(first.get()) == GST_CLOCK_TIME_NONE);

    const GstClockTime presented = now_ns();
    send(fake, {.time_ns = presented});
    GstPtr<GstBuffer> second = pipeline.pull();
    REQUIRE(second);
    CHECK(GST_BUFFER_PTS(second.get()) == presented - base);
    CHECK(reference_of(second) == presented);
    CHECK(GST_BUFFER_OFFSET(second.get()) == 1);

    // Never backwards, and never two of one time: encoders and muxers take neither.
    send(fake, {.time_ns = presented - 1000});
    GstPtr<GstBuffer> third = pipeline.pull();
    REQUIRE(third);
    CHECK(GST_BUFFER_PTS(third.get()) == presented - base + 1);
    CHECK(reference_of(third) == presented - 1000);
}

TEST_CASE("without a fixed rate every picture is pushed") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.credits() == 4; }));
    fake.run([&] {
        for (int frame = 0; frame < 3; ++frame) {
            fake.send_frame({.pixel = frame});
        }
        fake.send_frame({.dropped = 5, .pixel = 3});
    });
    for (int frame = 0; frame < 4; ++frame) {
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK(first_byte(buffer.get()) == frame);
    }
    CHECK(pipeline.stat("dropped") == 5);
    CHECK(pipeline.caps().find("framerate=(fraction)0/1") != std::string::npos);
}

TEST_CASE("a constant rate repeats what has not changed and drops what is too much") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline("", "! video/x-raw,framerate=10/1");
    pipeline.play();
    send(fake, {.pixel = 1});
    GstPtr<GstBuffer> first = pipeline.pull();
    REQUIRE(first);
    CHECK_FALSE(is_gap(first));
    CHECK(GST_BUFFER_DURATION(first.get()) == 100 * GST_MSECOND);

    // A repeat carries the same memory and says so.
    GstPtr<GstBuffer> repeat = pipeline.pull();
    REQUIRE(repeat);
    CHECK(is_gap(repeat));
    CHECK(gst_buffer_get_stepscope_frame_meta(repeat.get())->repeated);
    CHECK(gst_buffer_peek_memory(repeat.get(), 0) == gst_buffer_peek_memory(first.get(), 0));
    // Ticks do not drift, however late each was taken.
    const GstClockTime passed = GST_BUFFER_PTS(repeat.get()) - GST_BUFFER_PTS(first.get());
    CHECK(passed > 0);
    CHECK(passed % (100 * GST_MSECOND) == 0);
    first.reset();
    repeat.reset();

    // Of several between two ticks the newest is shown.
    fake.run([&] {
        for (int pixel : {2, 3, 4}) {
            fake.send_frame({.pixel = pixel});
        }
    });
    int seen = 1;
    while (seen == 1) {
        GstPtr<GstBuffer> next = pipeline.pull();
        REQUIRE(next);
        seen = first_byte(next.get());
    }
    CHECK(seen == 4);
    CHECK(pipeline.stat("dropped") == 2);
    CHECK(pipeline.stat("repeated") >= 1);
    CHECK(fake.wait_until([&] { return fake.held() == 1; }));  // for repeats
}

TEST_CASE("a constant rate works with a single buffer") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline("max-buffers=1", "! video/x-raw,framerate=50/1");
    pipeline.play();
    for (int frame = 0; frame < 3; ++frame) {
        send(fake, {.pixel = frame});
        while (pipeline.stat("passed-through") < static_cast<uint64_t>(frame) + 1) {
            REQUIRE(pipeline.pull());
        }
    }
}

TEST_CASE("latency") {
    Environment environment;
    FakeCompositor fake;
    auto latency = [](SourcePipeline& pipeline, GstClockTime& minimum, GstClockTime& maximum) {
        GstQuery* query = gst_query_new_latency();
        gboolean live = FALSE;
        REQUIRE(gst_element_query(pipeline.source(), query));
        gst_query_parse_latency(query, &live, &minimum, &maximum);
        gst_query_unref(query);
        CHECK(live);
    };
    GstClockTime minimum = 0;
    GstClockTime maximum = 0;
    SECTION("of the session's rate") {
        SourcePipeline pipeline;
        pipeline.play();
        send(fake);
        REQUIRE(pipeline.pull());
        latency(pipeline, minimum, maximum);
        CHECK(minimum == GST_SECOND / 60);
        CHECK(maximum == minimum * 5);
    }
    SECTION("of a constant rate") {
        SourcePipeline pipeline("max-buffers=2", "! video/x-raw,framerate=25/1");
        pipeline.play();
        send(fake);
        REQUIRE(pipeline.pull());
        latency(pipeline, minimum, maximum);
        CHECK(minimum == 40 * GST_MSECOND);
        CHECK(maximum == 120 * GST_MSECOND);
        CHECK(pipeline.wait_message(GST_MESSAGE_LATENCY));
    }
    SECTION("of a session without a limit") {
        fake.run([&] { fake.refresh_numerator = 0; });
        SourcePipeline pipeline;
        pipeline.play();
        send(fake);
        REQUIRE(pipeline.pull());
        latency(pipeline, minimum, maximum);
        CHECK(minimum == 0);
        CHECK(maximum == GST_CLOCK_TIME_NONE);
    }
}
