// SPDX-License-Identifier: LGPL-2.1-or-later
// mode=lockstep: steps, their time, their input, and what becomes of those that fail.
#include <gst/stepscope/stepscope.h>
#include <gst/video/navigation.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <ranges>

#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr uint32_t kNoCommit = 2;
constexpr uint32_t kExited = 3;
constexpr uint32_t kCrashed = 4;
constexpr uint32_t kTimeout = 5;
constexpr uint32_t kNoWindow = 7;

/** A fake session in lock-step whose game shows what `pictures` says, step by step; -1: nothing. */
class SteppedSession {
public:
    explicit SteppedSession(std::vector<int> pictures = {}) {
        fake.run([&] {
            fake.lockstep = true;
            if (!pictures.empty()) {
                fake.play_step = [this, pictures] { return play(pictures); };
            }
        });
    }

    /** Every step shows a picture. */
    void play_always() {
        fake.run([&] { fake.play_step = [] { return FakeFrame{.pixel = 1}; }; });
    }

    FakeCompositor fake;

private:
    std::optional<FakeFrame> play(const std::vector<int>& pictures) {
        const size_t step = fake.steps().size() - 1;
        const int pixel = step < pictures.size() ? pictures[step] : int(step);
        return pixel < 0 ? std::nullopt : std::optional(FakeFrame{.pixel = pixel});
    }
};

GstClockTime virtual_time_of(const GstPtr<GstBuffer>& buffer) {
    GstPtr<GstCaps> caps(gst_caps_from_string("timestamp/x-stepscope-virtual"));
    auto* meta = gst_buffer_get_reference_timestamp_meta(buffer.get(), caps.get());
    return meta != nullptr ? meta->timestamp : GST_CLOCK_TIME_NONE;
}

bool is_gap(const GstPtr<GstBuffer>& buffer) {
    return GST_BUFFER_FLAG_IS_SET(buffer.get(), GST_BUFFER_FLAG_GAP);
}

const GstStepscopeFrameMeta& meta_of(const GstPtr<GstBuffer>& buffer) {
    return *gst_buffer_get_stepscope_frame_meta(buffer.get());
}

bool send_input(SourcePipeline& pipeline, const char* text) {
    GstStructure* structure = gst_structure_from_string(text, nullptr);
    gboolean taken = FALSE;
    g_signal_emit_by_name(pipeline.source(), "send-input", structure, &taken);
    gst_structure_free(structure);
    return taken != FALSE;
}

bool send_event(SourcePipeline& pipeline, const char* text) {
    GstPtr<GstPad> pad(gst_element_get_static_pad(pipeline.source(), "src"));
    return gst_pad_send_event(
               pad.get(), gst_event_new_custom(GST_EVENT_CUSTOM_UPSTREAM,
                                               gst_structure_from_string(text, nullptr))) != FALSE;
}

std::string text_of(GstMessage* message) {
    GError* error = nullptr;
    gst_message_parse_warning(message, &error, nullptr);
    std::string text = error->message;
    g_error_free(error);
    return text;
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
    REQUIRE(session.fake.wait_until([&] { return session.fake.step_open(); }));
    session.fake.run([&] {
        session.fake.send_frame({.pixel = 9});
        session.fake.answer_step(kNoCommit);
    });
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

TEST_CASE("input goes with the step after it and is acknowledged on its frame") {
    Environment environment;
    SteppedSession session;
    FakeCompositor& fake = session.fake;
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    auto answer = [&] {
        REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
        fake.run([&] {
            fake.send_frame({.pixel = 1});
            fake.answer_step(1);
        });
    };
    REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    fake.run([&] { fake.log.clear(); });
    // While a step is open nothing may reach the game.
    REQUIRE(send_input(pipeline, "key, key=(string)Up, pressed=(boolean)true"));
    REQUIRE(send_input(pipeline, "pointer-motion, x=16, y=12.0"));
    REQUIRE(send_event(pipeline, "stepscope-input, type=(string)pointer-relative, dx=3, dy=-2.5"));
    REQUIRE(send_input(pipeline, "button, button=(uint)1, pressed=true"));
    REQUIRE(send_input(pipeline, "axis, dx=0, dy=(double)1"));
    GstPtr<GstPad> pad(gst_element_get_static_pad(pipeline.source(), "src"));
    REQUIRE(gst_pad_send_event(
        pad.get(), gst_navigation_event_new_key_release("Up", GST_NAVIGATION_MODIFIER_NONE)));
    fake.run([&] { CHECK(fake.log.empty()); });
    answer();
    GstPtr<GstBuffer> before = pipeline.pull();
    REQUIRE(before);
    CHECK(meta_of(before).input_sequence == 0);

    answer();
    GstPtr<GstBuffer> after = pipeline.pull();
    REQUIRE(after);
    CHECK(meta_of(after).input_sequence == 6);
    fake.run([&] {
        const std::vector<std::string> expected{
            "keymap 1 true",  "key 103 1", "position 0.250 0.250", "frame", "motion",   "frame",
            "button 0x110 1", "frame",     "wheel 0 -15 -1",       "frame", "key 103 0"};
        REQUIRE(fake.log.size() > expected.size());
        CHECK(std::ranges::equal(expected, fake.log | std::views::take(expected.size())));
        CHECK(fake.log[expected.size()] == "step");
    });
}

TEST_CASE("wrong input is refused with what was expected") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline("mode=lockstep");
    auto warning = [&] {
        GstPtr<GstMessage> message = pipeline.wait_message(GST_MESSAGE_WARNING);
        REQUIRE(message);
        return text_of(message.get());
    };
    CHECK_FALSE(send_input(pipeline, "key, key=(string)a, pressed=(boolean)true"));
    CHECK_THAT(warning(), ContainsSubstring("start the element first"));
    pipeline.play();
    REQUIRE(pipeline.pull());
    for (const char* wrong : {"jump, height=3", "key, key=(string)a", "key, pressed=(boolean)true",
                              "pointer-motion, x=1", "button, button=(string)left, pressed=true",
                              "button, button=-1, pressed=true", "axis, dx=(double)nan, dy=0"}) {
        CHECK_FALSE(send_input(pipeline, wrong));
        CHECK_THAT(warning(), ContainsSubstring("expected one of: key"));
    }
    CHECK_FALSE(send_event(pipeline, "stepscope-input, key=(string)a, pressed=true"));
    CHECK_THAT(warning(), ContainsSubstring("expected one of: key"));
    CHECK_FALSE(send_input(pipeline, "key, key=(string)no-such-key, pressed=true"));
    CHECK_THAT(warning(), ContainsSubstring("'no-such-key'"));
    CHECK_FALSE(send_input(pipeline, "button, button=77, pressed=true"));
    CHECK_THAT(warning(), ContainsSubstring("1 to 9"));
}

TEST_CASE("a flush while a step is open loses no picture") {
    Environment environment;
    SteppedSession session;
    FakeCompositor& fake = session.fake;
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    REQUIRE(gst_element_send_event(pipeline.source(), gst_event_new_flush_start()));
    fake.run([&] {
        fake.send_frame({.pixel = 5});
        fake.answer_step(1);
    });
    REQUIRE(gst_element_send_event(pipeline.source(), gst_event_new_flush_stop(TRUE)));
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 5);
    CHECK(GST_BUFFER_OFFSET(buffer.get()) == 1);
}

TEST_CASE("a source can be stopped while a step is open") {
    Environment environment;
    SteppedSession session;
    SourcePipeline pipeline("mode=lockstep timeout=0");
    for (int cycle = 0; cycle < 3; ++cycle) {
        pipeline.play();
        REQUIRE(session.fake.wait_until([&] { return session.fake.step_open(); }));
        pipeline.stop();
        REQUIRE(session.fake.wait_until([&] { return session.fake.clients() == 0; }));
    }
}

TEST_CASE("memory that outlives the stream does not keep the stepper") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    GstPtr<GstBuffer> held = pipeline.pull();
    REQUIRE(held);
    pipeline.stop();
    CHECK(session.fake.wait_until([&] { return !session.fake.has_stepper(); }));
    CHECK(first_byte(held.get()) == 1);
}

TEST_CASE("the game waits for consumers that hold all frames") {
    Environment environment;
    SteppedSession session;
    session.play_always();
    SourcePipeline pipeline("mode=lockstep max-buffers=2 on-no-frame=skip");
    pipeline.play();
    std::vector<GstPtr<GstBuffer>> held;
    for (int count = 0; count < 2; ++count) {
        held.push_back(pipeline.pull());
        REQUIRE(held.back());
    }
    CHECK(pipeline.is_silent());
    session.fake.run([&] { CHECK(session.fake.steps().size() == 2); });
    held.clear();
    CHECK(pipeline.pull());
    CHECK(pipeline.stat("dropped") == 0);
}

TEST_CASE("a session that can't be stepped") {
    Environment environment;
    FakeCompositor fake("doom");
    SourcePipeline pipeline("mode=lockstep");
    std::string expected = "stepscope --lockstep";
    SECTION("is not in lock-step") {}
    SECTION("is stepped by somebody else") {
        fake.run([&] { fake.lockstep = fake.stepper_taken = true; });
        expected = "stepped by another consumer";
    }
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("'doom'") && ContainsSubstring(expected));
}

TEST_CASE("the end of the game within a step") {
    Environment environment;
    SteppedSession session;
    FakeCompositor& fake = session.fake;
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    std::string how;
    guint expected = 0;
    SECTION("exited, as the session says") {
        fake.run([&] {
            fake.answer_step(kExited, "'doom' exited with status 3");
            fake.send_ended(1, 3);
        });
        how = "exited";
        expected = 3;
    }
    SECTION("crashed, and the session says no more") {
        fake.run([&] { fake.answer_step(kCrashed, "'doom' was ended by signal 11"); });
        how = "signaled";
    }
    CHECK_FALSE(pipeline.pull());
    GstPtr<GstMessage> ended = pipeline.wait_message(GST_MESSAGE_ELEMENT, "stepscope-ended");
    REQUIRE(ended);
    const GstStructure* facts = gst_message_get_structure(ended.get());
    CHECK(gst_structure_get_string(facts, "how") == how);
    guint value = 99;
    CHECK(gst_structure_get_uint(facts, "value", &value));
    CHECK(value == expected);
    CHECK_THAT(gst_structure_get_string(facts, "message"), ContainsSubstring("'doom'"));
    CHECK(pipeline.wait_message(GST_MESSAGE_EOS));
}

TEST_CASE("the last pictures come before the end") {
    Environment environment;
    SteppedSession session;
    FakeCompositor& fake = session.fake;
    SourcePipeline pipeline("mode=lockstep frames-per-step=2");
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    fake.run([&] {
        fake.send_frame({.pixel = 7});
        fake.answer_step(1);
    });
    REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    fake.run([&] {
        fake.answer_step(kExited, "the game exited");
        fake.send_ended(1, 0);
    });
    GstPtr<GstBuffer> last = pipeline.pull();
    REQUIRE(last);
    CHECK(first_byte(last.get()) == 7);
    CHECK_FALSE(pipeline.pull());
}

TEST_CASE("steps that fail") {
    Environment environment;
    SteppedSession session;
    FakeCompositor& fake = session.fake;
    SourcePipeline pipeline("mode=lockstep timeout=10");
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    std::string expected;
    SECTION("the game hangs") {
        fake.run([&] { fake.answer_step(kTimeout, "thread 12 of process 11 runs\n"); });
        expected = "was not done after 10 ms: thread 12 of process 11 runs";
    }
    SECTION("the compositor is stopped") {
        fake.freeze();
        expected = "does not answer a step";
    }
    SECTION("the compositor dies") {
        fake.kill_clients();
        expected = "went away";
    }
    SECTION("an unknown status") {
        fake.run([&] { fake.answer_step(9); });
        expected = "status 9";
    }
    SECTION("another step's answer") {
        fake.run([&] {
            fake.answer_step(kNoCommit);
            wl_resource_post_event(fake.stepper(), 0, 77, 1, 0, 1, 0, 1, "");
        });
        expected = "answered step 77";
    }
    CHECK_THAT(pipeline.wait_error(),
               ContainsSubstring("gst-resource-error-quark:9") && ContainsSubstring(expected));
}
