// SPDX-License-Identifier: LGPL-2.1-or-later
// display=: what other compositors may do.
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>
#include <wayland-server-protocol.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <format>

#include "support/fake_display.hpp"
#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr FakeDisplay::Protocols kExt{.ext = 1, .wlr = 0};

SourcePipeline capture(const FakeDisplay& fake, const std::string& options = "",
                       const std::string& middle = "") {
    return SourcePipeline(std::format("display={} {}", fake.name(), options), middle);
}

/** Finishes a copy as soon as the element asks for one. */
void copy(FakeDisplay& fake, const FakeCopy& picture = {}) {
    REQUIRE(fake.wait_until([&] { return fake.copy(picture); }));
}

std::vector<PictureArea> damage_of(GstBuffer* buffer) {
    std::vector<PictureArea> damage;
    gpointer state = nullptr;
    while (GstMeta* meta = gst_buffer_iterate_meta_filtered(
               buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE)) {
        auto* region = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
        CHECK(region->roi_type == g_quark_from_string("damage"));
        damage.push_back({region->x, region->y, region->w, region->h});
    }
    return damage;
}

}  // namespace

TEST_CASE("the newer protocol is preferred") {
    Environment environment;
    FakeDisplay fake({.ext = 1, .wlr = 3});
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    copy(fake, {.pixel = 7});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 7);
    const GstStepscopeFrameMeta* meta = gst_buffer_get_stepscope_frame_meta(buffer.get());
    CHECK(meta->path == GST_STEPSCOPE_FRAME_PATH_COPIED);
    CHECK(meta->reason == GST_STEPSCOPE_FRAME_REASON_SCREENCOPY);
    CHECK_FALSE(meta->repeated);
    fake.run([&] { CHECK(fake.used() == "ext"); });
}

TEST_CASE("a compositor that has wlr-screencopy only") {
    const uint32_t version = GENERATE(1U, 2U, 3U);
    Environment environment;
    FakeDisplay fake({.ext = 0, .wlr = version});
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    for (int picture = 0; picture < 20; ++picture) {
        // The first comes at once, the others when something changes.
        REQUIRE(fake.wait_until([&] { return fake.copy_wanted(); }));
        fake.run([&] {
            CHECK(fake.used() == "wlr");
            CHECK(fake.with_damage() == (picture > 0 && version >= 2));
        });
        copy(fake, {.pixel = picture});
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK(first_byte(buffer.get()) == picture);
    }
    CHECK(pipeline.stat("copied") == 20);
    CHECK(pipeline.stat("imports") <= 2);
}

TEST_CASE("a compositor with neither") {
    Environment environment;
    FakeDisplay fake({.ext = 0, .wlr = 0});
    SourcePipeline pipeline = capture(fake);
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("offers neither"));
}

TEST_CASE("the cursor is asked for, and may change") {
    Environment environment;
    FakeDisplay fake({.ext = GENERATE(0U, 1U), .wlr = 3});
    SourcePipeline pipeline = capture(fake, "cursor=embedded");
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.copy_wanted() && fake.with_cursor(); }));
    copy(fake);
    REQUIRE(pipeline.pull());
    g_object_set(pipeline.source(), "cursor", 0, nullptr);
    REQUIRE(fake.wait_until([&] { return fake.copy_wanted() && !fake.with_cursor(); }));
    copy(fake, {.pixel = 9});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 9);
}

TEST_CASE("other constraints are other caps") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    copy(fake);
    REQUIRE(pipeline.pull());
    CHECK_THAT(pipeline.caps(), ContainsSubstring("width=(int)64, height=(int)48"));
    // The copy that is under way does not fit any more.
    const bool told_before = GENERATE(true, false);
    REQUIRE(fake.wait_until([&] { return fake.copy_wanted(); }));
    fake.run([&] {
        fake.width = 128;
        fake.height = 32;
        if (told_before) {
            fake.send_constraints();
            fake.fail_copy(1);
        } else {
            fake.fail_copy(1);
            fake.send_constraints();
        }
    });
    copy(fake, {.pixel = 5});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK_THAT(pipeline.caps(), ContainsSubstring("width=(int)128, height=(int)32"));
    CHECK(GST_BUFFER_FLAG_IS_SET(buffer.get(), GST_BUFFER_FLAG_DISCONT));
    CHECK(gst_buffer_get_size(buffer.get()) >= size_t{128} * 32 * 4);
    CHECK(first_byte(buffer.get()) == 5);
}

TEST_CASE("a failed copy is tried again") {
    Environment environment;
    FakeDisplay fake({.ext = GENERATE(0U, 1U), .wlr = 3});
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    for (int failure = 0; failure < 3; ++failure) {
        REQUIRE(fake.wait_until([&] { return fake.fail_copy(); }));
    }
    copy(fake, {.pixel = 3});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 3);
}

TEST_CASE("copies that always fail are an error") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    unsigned failures = 0;
    while (failures < 50 && fake.wait_until([&] { return fake.fail_copy(); })) {
        ++failures;
    }
    CHECK(failures == 50);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("failed to copy output 'FAKE-1'"));
}

TEST_CASE("the output goes, or its capture is ended") {
    Environment environment;
    FakeDisplay fake({.ext = GENERATE(0U, 1U), .wlr = 3});
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    copy(fake);
    REQUIRE(pipeline.pull());
    REQUIRE(fake.wait_until([&] { return fake.copy_wanted(); }));
    bool ext = false;
    fake.run([&] { ext = fake.used() == "ext"; });
    if (ext && GENERATE(true, false)) {
        fake.run([&] { fake.stop_session(); });
    } else {
        fake.run([&] { fake.remove_output(); });
    }
    GstPtr<GstMessage> ended = pipeline.wait_message(GST_MESSAGE_ELEMENT, "stepscope-ended");
    REQUIRE(ended);
    CHECK(std::string(gst_structure_get_string(gst_message_get_structure(ended.get()), "how")) ==
          "output-gone");
    CHECK(pipeline.wait_message(GST_MESSAGE_EOS));
}

TEST_CASE("a display that dies is an error") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    copy(fake);
    GstPtr<GstBuffer> held = pipeline.pull();
    REQUIRE(held);
    fake.kill_clients();
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("went away"));
    pipeline.stop();
    CHECK(first_byte(held.get()) == 0);
}

TEST_CASE("a display that never answers") {
    Environment environment;
    FakeDisplay fake(kExt);
    fake.freeze();
    SourcePipeline pipeline = capture(fake);
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("does not answer"));
}

TEST_CASE("damage is told") {
    Environment environment;
    FakeDisplay fake({.ext = GENERATE(0U, 1U), .wlr = 3});
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    copy(fake, {.damage = {{0, 0, 64, 48}}});
    REQUIRE(pipeline.pull());
    copy(fake, {.damage = {{1, 2, 3, 4}, {10, 20, 100, 5}}});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    // What lies beyond the picture is left out.
    CHECK(damage_of(buffer.get()) == std::vector<PictureArea>{{1, 2, 3, 4}, {10, 20, 54, 5}});
    copy(fake);
    buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(damage_of(buffer.get()).empty());
}

TEST_CASE("damage outside of the region brings no buffer") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake, "region=\"16,8,32,16\"");
    pipeline.play();
    copy(fake, {.damage = {{0, 0, 64, 48}}});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK_THAT(pipeline.caps(), ContainsSubstring("width=(int)32, height=(int)16"));
    CHECK(damage_of(buffer.get()) == std::vector<PictureArea>{{0, 0, 32, 16}});
    copy(fake, {.pixel = 1, .damage = {{0, 0, 16, 48}, {48, 0, 16, 48}}});
    copy(fake, {.pixel = 2, .damage = {{0, 0, 20, 10}}});
    buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 2);
    CHECK(damage_of(buffer.get()) == std::vector<PictureArea>{{0, 0, 4, 2}});
    CHECK(pipeline.stat("frames") == 2);
}

TEST_CASE("downstream chooses among the compositor's formats") {
    Environment environment;
    FakeDisplay fake(kExt);
    fake.formats = {WL_SHM_FORMAT_ARGB8888, WL_SHM_FORMAT_XRGB8888, WL_SHM_FORMAT_XBGR8888,
                    WL_SHM_FORMAT_RGB565};
    const auto [wanted, expected] =
        GENERATE(std::pair("ANY", "BGRx"), std::pair("RGBx", "RGBx"), std::pair("RGB16", "RGB16"));
    SourcePipeline pipeline =
        capture(fake, "",
                std::string(wanted) == "ANY" ? "" : std::format("! video/x-raw,format={}", wanted));
    pipeline.play();
    copy(fake);
    REQUIRE(pipeline.pull());
    CHECK_THAT(pipeline.caps(), ContainsSubstring(std::format("format=(string){}", expected)));
}

TEST_CASE("no format that GStreamer knows") {
    Environment environment;
    FakeDisplay fake(kExt);
    fake.formats = {WL_SHM_FORMAT_C8};
    SourcePipeline pipeline = capture(fake);
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("offers 1 formats for shared memory"));
}

TEST_CASE("upside down is refused") {
    Environment environment;
    FakeDisplay fake({.ext = 0, .wlr = 3});
    SourcePipeline pipeline = capture(fake);
    pipeline.play();
    copy(fake, {.upside_down = true});
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("upside down"));
}

TEST_CASE("held buffers are not copied into") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake, "max-buffers=3");
    pipeline.play();
    std::vector<GstPtr<GstBuffer>> held;
    for (int picture = 1; picture <= 3; ++picture) {
        copy(fake, {.pixel = picture});
        held.push_back(pipeline.pull());
        REQUIRE(held.back());
    }
    CHECK(pipeline.is_silent());
    fake.run([&] { CHECK_FALSE(fake.copy_wanted()); });
    for (int picture = 1; picture <= 3; ++picture) {
        CHECK(first_byte(held[static_cast<size_t>(picture) - 1].get()) == picture);
    }
    held.erase(held.begin());
    copy(fake, {.pixel = 5});
    GstPtr<GstBuffer> next = pipeline.pull();
    REQUIRE(next);
    CHECK(first_byte(next.get()) == 5);
    CHECK(first_byte(held.front().get()) == 2);
    CHECK(pipeline.stat("imports") == 3);
    pipeline.stop();
    CHECK(first_byte(held.front().get()) == 2);
}

TEST_CASE("at a constant rate the newest picture is taken") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake, "max-buffers=2", "! video/x-raw,framerate=5/1");
    pipeline.play();
    copy(fake, {.pixel = 1});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    buffer.reset();
    // More pictures than there are buffers come before the next tick.
    for (int picture = 2; picture <= 20; ++picture) {
        copy(fake, {.pixel = picture, .damage = {{static_cast<uint32_t>(picture), 0, 1, 1}}});
    }
    do {
        buffer = pipeline.pull();
        REQUIRE(buffer);
    } while (first_byte(buffer.get()) != 20);
    CHECK(pipeline.stat("dropped") > 0);
    // And then it is repeated, without damage.
    buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(first_byte(buffer.get()) == 20);
    CHECK(gst_buffer_get_stepscope_frame_meta(buffer.get())->repeated);
    CHECK(damage_of(buffer.get()).empty());
}

TEST_CASE("ten captures of a display leak nothing") {
    Environment environment;
    FakeDisplay fake(kExt);
    SourcePipeline pipeline = capture(fake);
    size_t baseline = 0;
    for (int cycle = 0; cycle < 11; ++cycle) {
        pipeline.play();
        copy(fake);
        REQUIRE(pipeline.pull());
        pipeline.stop();
        REQUIRE(fake.wait_until([&] { return fake.clients() == 0; }));
        if (cycle == 0) {
            baseline = open_fds();  // whatever GStreamer opens once is open now
        }
        CHECK(open_fds() <= baseline);
    }
}
