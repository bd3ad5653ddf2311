// SPDX-License-Identifier: LGPL-2.1-or-later
// mode=lockstep: what ends a step too early, and what becomes of steps that fail.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "support/stepped_session.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("a flush while a step is open loses no picture") {
    Environment environment;
    SteppedSession session;
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    session.wait_until_open();
    REQUIRE(gst_element_send_event(pipeline.source(), gst_event_new_flush_start()));
    session.show(5);
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
        session.wait_until_open();
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
    session.wait_until_open();
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
    session.show(7);
    session.wait_until_open();
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
    session.wait_until_open();
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
