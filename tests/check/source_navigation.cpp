// SPDX-License-Identifier: LGPL-2.1-or-later
// GstNavigation events become input of the session.
#include <gst/video/navigation.h>

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

}  // namespace

TEST_CASE("navigation events reach the game") {
    Environment environment;
    FakeCompositor fake("game", 640, 480);
    SourcePipeline pipeline;
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.send_frame(); }));
    REQUIRE(pipeline.pull());
    GstPtr<GstPad> pad(gst_element_get_static_pad(pipeline.source(), "src"));
    auto send = [&](GstEvent* event) { return bool(gst_pad_send_event(pad.get(), event)); };
    constexpr auto kNone = GST_NAVIGATION_MODIFIER_NONE;

    REQUIRE(send(gst_navigation_event_new_mouse_move(160, 120, kNone)));
    CHECK(requests(fake, 3) == Log{"keymap 1 true", "position 0.250 0.250", "frame"});

    CHECK(send(gst_navigation_event_new_mouse_move(-5, 9999, kNone)));
    CHECK(requests(fake, 2) == Log{"position 0.000 1.000", "frame"});

    CHECK(send(gst_navigation_event_new_mouse_button_press(1, 320, 240, kNone)));
    CHECK(send(gst_navigation_event_new_mouse_button_release(1, 320, 240, kNone)));
    CHECK(requests(fake, 8) == Log{"position 0.500 0.500", "frame", "button 0x110 1", "frame",
                                   "position 0.500 0.500", "frame", "button 0x110 0", "frame"});

    CHECK(send(gst_navigation_event_new_mouse_button_press(5, 320, 240, kNone)));
    CHECK(requests(fake, 4) == Log{"position 0.500 0.500", "frame", "wheel 0 15 1", "frame"});
    CHECK(send(gst_navigation_event_new_mouse_scroll(320, 240, 0.5, 2, kNone)));
    CHECK(requests(fake, 5) ==
          Log{"position 0.500 0.500", "frame", "wheel 0 -30 -2", "axis 1 7.5", "frame"});

    CHECK(send(gst_navigation_event_new_key_press("a", kNone)));
    CHECK(send(gst_navigation_event_new_key_press("a", kNone)));  // a repeat of the sink's
    CHECK(send(gst_navigation_event_new_key_release("a", kNone)));
    CHECK(send(gst_navigation_event_new_key_press("Up", kNone)));
    CHECK(send(gst_navigation_event_new_key_release("Up", kNone)));
    CHECK(requests(fake, 4) == Log{"key 30 1", "key 30 0", "key 103 1", "key 103 0"});

    // Shift is lent to a key that needs it, and not where it is down already.
    CHECK(send(gst_navigation_event_new_key_press("A", kNone)));
    CHECK(send(gst_navigation_event_new_key_release("A", kNone)));
    CHECK(requests(fake, 4) == Log{"modifiers 1", "key 30 1", "key 30 0", "modifiers 0"});
    CHECK(send(gst_navigation_event_new_key_press("Shift_L", kNone)));
    CHECK(send(gst_navigation_event_new_key_press("A", kNone)));
    CHECK(requests(fake, 3) == Log{"key 42 1", "modifiers 1", "key 30 1"});

    CHECK_FALSE(send(gst_navigation_event_new_key_press("no-such-key", kNone)));
    CHECK_FALSE(send(gst_navigation_event_new_mouse_button_press(77, 0, 0, kNone)));
    CHECK(requests(fake, 0).empty());

    // Nothing stays down when the pipeline ends.
    pipeline.stop();
    Log last = requests(fake, 3);
    CHECK(std::ranges::count(last, "key 30 0") == 1);
    CHECK(std::ranges::count(last, "key 42 0") == 1);
    CHECK(std::ranges::count(last, "modifiers 0") == 1);
}
