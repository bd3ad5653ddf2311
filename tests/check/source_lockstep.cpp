// SPDX-License-Identifier: LGPL-2.1-or-later
// mode=lockstep: steps, their time, and the pictures that they show.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "support/stepped_session.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

GstClockTime virtual_time_of(const GstPtr<GstBuffer>& buffer) {
    GstPtr<GstCaps> caps(gst_caps_from_string("timestamp/x-stepscope-virtual"));
    auto* meta = gst_buffer_get_reference_timestamp_meta(buffer.get(), caps.get());
    return meta != nullptr ? meta->timestamp : GST_CLOCK_TIME_NONE;
}

}  // namespace

TEST_CASE("each buffer is one step, at its exact time") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline("mode=lockstep timeout=1234", "! video/x-raw,framerate=30000/1001");
    pipeline.play();
    for (guint64 step = 0; step < 40; ++step) {
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        auto start = [](guint64 number) {
            return gst_util_uint64_scale(number, 1001 * GST_SECOND, 30000);
        };
        CHECK(GST_BUFFER_PTS(buffer.get()) == start(step));
        CHECK(GST_BUFFER_DURATION(buffer.get()) == start(step + 1) - start(step));
        CHECK(GST_BUFFER_OFFSET(buffer.get()) == step + 1);
        CHECK(virtual_time_of(buffer) == start(step + 1));
        CHECK(meta_of(buffer).step == step + 1);
        CHECK(meta_of(buffer).virtual_time == start(step + 1));
        CHECK_FALSE(meta_of(buffer).repeated);
    }
    CHECK(pipeline.caps().find("framerate=(fraction)30000/1001") != std::string::npos);
    session.fake.run([&] {
        for (const FakeStep& step : session.fake.steps()) {
            CHECK((step.length_ns == 33'366'666 || step.length_ns == 33'366'667));
            CHECK(step.timeout_ms == 1234);
        }
    });
    CHECK(pipeline.stat("dropped") == 0);
    CHECK(pipeline.stat("no-frame-steps") == 0);
    CHECK(pipeline.stat("steps") >= 40);
}

TEST_CASE("the rate that nobody names is the session's") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    uint64_t length = 0;
    SECTION("of the session") {
        session.fake.run([&] { session.fake.refresh_numerator = 50; });
        length = 20'000'000;
    }
    SECTION("60 where that has none") {
        session.fake.run([&] { session.fake.refresh_numerator = 0; });
        length = 16'666'666;
    }
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    REQUIRE(pipeline.pull());
    session.fake.run([&] { CHECK(session.fake.steps().front().length_ns == length); });
    CHECK(pipeline.caps().find("framerate=(fraction)0/1") == std::string::npos);
}

TEST_CASE("it is not live and can't be sought") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline("mode=lockstep");
    CHECK(pipeline.set_state(GST_STATE_PAUSED) != GST_STATE_CHANGE_NO_PREROLL);
    pipeline.play();
    REQUIRE(pipeline.pull());
    GstQuery* query = gst_query_new_latency();
    gboolean live = TRUE;
    GstClockTime minimum = 1;
    REQUIRE(gst_element_query(pipeline.source(), query));
    gst_query_parse_latency(query, &live, &minimum, nullptr);
    gst_query_unref(query);
    CHECK_FALSE(live);
    CHECK(minimum == 0);
    CHECK_FALSE(
        gst_element_seek_simple(pipeline.pipeline(), GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
    GstPtr<GstPad> pad(gst_element_get_static_pad(pipeline.source(), "src"));
    GstEvent* event = gst_pad_get_sticky_event(pad.get(), GST_EVENT_SEGMENT, 0);
    REQUIRE(event != nullptr);
    const GstSegment* segment = nullptr;
    gst_event_parse_segment(event, &segment);
    CHECK(segment->format == GST_FORMAT_TIME);
    CHECK(segment->start == 0);
    gst_event_unref(event);
}

TEST_CASE("several steps make one buffer") {
    Environment environment;
    SteppedSession session({10, 11, 12, 13, -1, -1, -1, -1, -1, 20, 21, 22});
    SourcePipeline pipeline("mode=lockstep frames-per-step=3", "! video/x-raw,framerate=100/1");
    pipeline.play();
    for (auto [pixel, gap] : {std::pair(12, false), {13, false}, {13, true}, {22, false}}) {
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK(first_byte(buffer.get()) == pixel);
        CHECK(is_gap(buffer) == gap);
        CHECK(GST_BUFFER_DURATION(buffer.get()) == 30 * GST_MSECOND);
        CHECK(GST_BUFFER_OFFSET(buffer.get()) % 3 == 0);
        CHECK(GST_BUFFER_PTS(buffer.get()) ==
              (GST_BUFFER_OFFSET(buffer.get()) - 1) * 10 * GST_MSECOND);
    }
    CHECK(pipeline.stat("dropped") == 0);
}

TEST_CASE("steps that show nothing") {
    Environment environment;
    // Three steps of booting, pictures, a pause of two steps, pictures.
    SteppedSession session({-1, -1, -1, 1, 2, -1, -1, 3});
    SECTION("repeat the picture, marked as such") {
        SourcePipeline pipeline("mode=lockstep", "! video/x-raw,framerate=10/1");
        pipeline.play();
        guint64 step = 4;
        for (auto [pixel, gap] :
             {std::pair(1, false), {2, false}, {2, true}, {2, true}, {3, false}}) {
            GstPtr<GstBuffer> buffer = pipeline.pull();
            REQUIRE(buffer);
            CHECK(first_byte(buffer.get()) == pixel);
            CHECK(is_gap(buffer) == gap);
            CHECK(bool(meta_of(buffer).repeated) == gap);
            CHECK(GST_BUFFER_PTS(buffer.get()) == (step - 1) * 100 * GST_MSECOND);
            CHECK(GST_BUFFER_OFFSET(buffer.get()) == step);
            CHECK(meta_of(buffer).step == (gap ? 5 : step));
            ++step;
        }
        CHECK(pipeline.stat("repeated") == 2);
        CHECK(pipeline.stat("no-frame-steps") == 5);
    }
    SECTION("skip") {
        SourcePipeline pipeline("mode=lockstep on-no-frame=skip", "! video/x-raw,framerate=10/1");
        pipeline.play();
        for (guint64 step : {4, 5, 8}) {
            GstPtr<GstBuffer> buffer = pipeline.pull();
            REQUIRE(buffer);
            CHECK(GST_BUFFER_PTS(buffer.get()) == (step - 1) * 100 * GST_MSECOND);
        }
        CHECK(pipeline.stat("repeated") == 0);
    }
    SECTION("error, but not while the game starts") {
        SourcePipeline pipeline("mode=lockstep on-no-frame=error");
        pipeline.play();
        REQUIRE(pipeline.pull());
        REQUIRE(pipeline.pull());
        CHECK_THAT(pipeline.wait_error(), ContainsSubstring("gst-resource-error-quark:9") &&
                                              ContainsSubstring("step 6") &&
                                              ContainsSubstring("on-no-frame=error"));
    }
}

TEST_CASE("an old picture is not passed off as new") {
    Environment environment;
    SteppedSession session;
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    // What was on the screen before this stream began.
    session.show(9, kNoCommit);
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 9);
    CHECK(is_gap(buffer));
    CHECK(meta_of(buffer).repeated);
    CHECK(pipeline.stat("no-frame-steps") == 1);
}

TEST_CASE("the screen before the game's window is not a picture of the game") {
    Environment environment;
    SteppedSession session;
    session.fake.run([&] {
        session.fake.play_step = [&] {
            return session.fake.steps().size() < 5
                       ? FakeFrame{.path = 2, .reason = kNoWindow, .pixel = 0}
                       : FakeFrame{.pixel = 1};
        };
    });
    SourcePipeline pipeline("mode=lockstep on-no-frame=error zero-copy=require");
    pipeline.play();
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(GST_BUFFER_OFFSET(buffer.get()) == 5);
    CHECK(first_byte(buffer.get()) == 1);
}

TEST_CASE("a game that never shows anything") {
    Environment environment;
    SteppedSession session({-1});
    session.fake.run([&] { session.fake.play_step = [] { return std::nullopt; }; });
    SourcePipeline pipeline("mode=lockstep", "! video/x-raw,framerate=1/10");
    pipeline.play();
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("no picture within 600 s"));
    session.fake.run([&] { CHECK(session.fake.steps().size() == 61); });
}

TEST_CASE("no step before PLAYING with start-paused") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline("mode=lockstep start-paused=true");
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_NO_PREROLL);
    CHECK(pipeline.is_silent());
    session.fake.run([&] { CHECK(session.fake.steps().empty()); });
    pipeline.play();
    GstPtr<GstBuffer> first = pipeline.pull();
    REQUIRE(first);
    CHECK(GST_BUFFER_PTS(first.get()) == 0);
    // And none while it is paused.
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_NO_PREROLL);
    while (!pipeline.is_silent()) {
        pipeline.pull();
    }
    size_t steps = 0;
    session.fake.run([&] { steps = session.fake.steps().size(); });
    CHECK(pipeline.is_silent());
    session.fake.run([&] { CHECK(session.fake.steps().size() == steps); });
    pipeline.play();
    CHECK(pipeline.pull());
}

TEST_CASE("without it the preroll takes a step") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline = SourcePipeline::parse(
        "wlscreencopysrc name=src mode=lockstep ! fakesink name=sink sync=false "
        "enable-last-sample=false signal-handoffs=true");
    pipeline.set_state(GST_STATE_PAUSED);
    CHECK(gst_element_get_state(pipeline.pipeline(), nullptr, nullptr, 20 * GST_SECOND) ==
          GST_STATE_CHANGE_SUCCESS);
    session.fake.run([&] { CHECK(session.fake.steps().size() == 1); });
}
