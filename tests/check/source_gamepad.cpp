// SPDX-License-Identifier: LGPL-2.1-or-later
// The action signal and the upstream event press buttons of the session's gamepads.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;

namespace {

using Log = std::vector<std::string>;

/** What the session was asked for, once `count` requests have come. */
Log requests(FakeCompositor& fake, size_t count) {
    Log log;
    fake.wait_until([&] { return fake.log.size() >= count; });
    fake.run([&] { log.swap(fake.log); });
    return log;
}

bool send_input(SourcePipeline& pipeline, const char* text) {
    const GstPtr<GstStructure> structure(gst_structure_new_from_string(text));
    REQUIRE(structure);
    gboolean taken = FALSE;
    g_signal_emit_by_name(pipeline.source(), "send-input", structure.get(), &taken);
    return taken != FALSE;
}

}  // namespace

TEST_CASE("gamepads of the session are pressed and moved") {
    Environment environment;
    FakeCompositor fake("game", 640, 480);
    fake.offer_gamepads(2);
    SourcePipeline pipeline;
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.send_frame(); }));
    REQUIRE(pipeline.pull());

    CHECK(send_input(pipeline, "gamepad-button, button=(string)a, pressed=true"));
    CHECK(requests(fake, 3) == Log{"gamepad 0", "pad button 0 1", "pad frame"});
    CHECK(send_input(pipeline, "gamepad-button, gamepad=1, button=(string)dpright, pressed=false"));
    CHECK(requests(fake, 3) == Log{"gamepad 1", "pad button 14 0", "pad frame"});

    CHECK(send_input(pipeline, "gamepad-axis, axis=(string)leftx, value=1"));
    CHECK(send_input(pipeline, "gamepad-axis, axis=(string)righty, value=-0.5"));
    CHECK(send_input(pipeline, "gamepad-axis, axis=(string)righttrigger, value=0.25"));
    CHECK(requests(fake, 6) == Log{"pad axis 0 32767", "pad frame", "pad axis 3 -16384",
                                   "pad frame", "pad axis 5 8192", "pad frame"});

    GstPtr<GstPad> pad(gst_element_get_static_pad(pipeline.source(), "src"));
    CHECK(gst_pad_send_event(
        pad.get(), gst_event_new_custom(GST_EVENT_CUSTOM_UPSTREAM,
                                        gst_structure_new_from_string(
                                            "stepscope-input, type=(string)gamepad-button, "
                                            "button=(string)guide, pressed=true"))));
    CHECK(requests(fake, 2) == Log{"pad button 5 1", "pad frame"});

    for (const char* wrong : {
             "gamepad-button, button=(string)z, pressed=true",
             "gamepad-button, button=(string)leftx, pressed=true",
             "gamepad-button, button=0, pressed=true",
             "gamepad-button, gamepad=2, button=(string)a, pressed=true",
             "gamepad-button, gamepad=-1, button=(string)a, pressed=true",
             "gamepad-button, button=(string)a",
             "gamepad-axis, axis=(string)leftx, value=1.01",
             "gamepad-axis, axis=(string)lefttrigger, value=-0.1",
             "gamepad-axis, axis=(string)a, value=0",
         }) {
        INFO(wrong);
        CHECK_FALSE(send_input(pipeline, wrong));
    }
    CHECK(requests(fake, 0).empty());

    // The session lets go what is down when the object goes.
    pipeline.stop();
    CHECK(requests(fake, 2) == Log{"gamepad gone", "gamepad gone"});
}

TEST_CASE("a session without gamepads says so") {
    Environment environment;
    FakeCompositor fake("game", 640, 480);
    SourcePipeline pipeline;
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.send_frame(); }));
    REQUIRE(pipeline.pull());
    CHECK_FALSE(send_input(pipeline, "gamepad-button, button=(string)a, pressed=true"));
    CHECK(requests(fake, 0).empty());
}
