// SPDX-License-Identifier: LGPL-2.1-or-later
// mode=lockstep: input goes with a step.
#include <gst/video/navigation.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <ranges>

#include "support/stepped_session.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

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

TEST_CASE("input goes with the step after it and is acknowledged on its frame") {
    Environment environment;
    SteppedSession session;
    FakeCompositor& fake = session.fake;
    SourcePipeline pipeline("mode=lockstep");
    pipeline.play();
    session.wait_until_open();
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
    session.show(1);
    GstPtr<GstBuffer> before = pipeline.pull();
    REQUIRE(before);
    CHECK(meta_of(before).input_sequence == 0);

    session.show(1);
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
