// SPDX-License-Identifier: LGPL-2.1-or-later
// Finding, losing and leaving a session.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <optional>

#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

void send(FakeCompositor& fake, const FakeFrame& frame = {}) {
    REQUIRE(fake.wait_until([&] { return fake.send_frame(frame); }));
}

}  // namespace

TEST_CASE("no session") {
    Environment environment;
    SourcePipeline pipeline;
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("gst-resource-error-quark:3") &&
                                          ContainsSubstring("no session is running"));
}

TEST_CASE("a session that does not run") {
    Environment environment;
    FakeCompositor fake("doom");
    SourcePipeline pipeline("session=quake");
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("'quake'") && ContainsSubstring("doom"));
}

TEST_CASE("several sessions") {
    Environment environment;
    FakeCompositor one("one");
    FakeCompositor two("two");
    SourcePipeline pipeline;
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("one, two"));

    ::setenv("STEPSCOPE_SESSION", "two", 1);
    SourcePipeline chosen;
    chosen.play();
    send(two);
    CHECK(chosen.pull());
    ::unsetenv("STEPSCOPE_SESSION");
}

TEST_CASE("a compositor that never answers") {
    Environment environment;
    FakeCompositor fake;
    fake.freeze();
    SourcePipeline pipeline;
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE);
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("does not answer"));
}

TEST_CASE("ten cycles leak nothing") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    size_t baseline = 0;
    for (int cycle = 0; cycle < 11; ++cycle) {
        pipeline.play();
        send(fake);
        REQUIRE(pipeline.pull());
        pipeline.stop();
        REQUIRE(fake.wait_until([&] { return fake.clients() == 0; }));
        size_t fds = 0;
        fake.run([&] { fds = open_fds() - fake.slots(); });
        if (cycle == 0) {
            baseline = fds;  // whatever GStreamer opens once is open now
        }
        CHECK(fds <= baseline);
    }
}

TEST_CASE("a source that waits for a frame can be stopped and paused") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.started(); }));
    CHECK(pipeline.set_state(GST_STATE_PAUSED) == GST_STATE_CHANGE_NO_PREROLL);
    pipeline.play();
    send(fake);
    CHECK(pipeline.pull());
    pipeline.stop();
    CHECK(fake.wait_until([&] { return fake.clients() == 0; }));
}

TEST_CASE("the game's end is the stream's end") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake);
    REQUIRE(pipeline.pull());
    fake.run([&] {
        fake.send_frame();
        fake.send_ended(2, 11);
    });
    fake.kill_clients();
    CHECK(pipeline.pull());        // the last picture is not lost
    CHECK_FALSE(pipeline.pull());  // end of stream
    GstPtr<GstMessage> ended = pipeline.wait_message(GST_MESSAGE_ELEMENT, "stepscope-ended");
    REQUIRE(ended);
    const GstStructure* facts = gst_message_get_structure(ended.get());
    CHECK(std::string(gst_structure_get_string(facts, "how")) == "signaled");
    unsigned value = 0;
    CHECK(gst_structure_get_uint(facts, "value", &value));
    CHECK(value == 11);
    CHECK(pipeline.wait_message(GST_MESSAGE_EOS));
}

TEST_CASE("a compositor that dies is an error") {
    Environment environment;
    FakeCompositor fake("doom");
    SourcePipeline pipeline;
    pipeline.play();
    send(fake);
    GstPtr<GstBuffer> held = pipeline.pull();
    REQUIRE(held);
    fake.kill_clients();
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring("'doom'") &&
                                          ContainsSubstring(std::to_string(::getpid())) &&
                                          ContainsSubstring("went away"));
    CHECK(first_byte(held.get()) >= 0);
}

TEST_CASE("a compositor that breaks the protocol is an error, not a crash") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    REQUIRE(fake.wait_until([&] { return fake.started(); }));
    std::string expected;
    SECTION("a frame in no slot") {
        fake.run([&] { fake.send_frame_in(77); });
        expected = "slot 77";
    }
    SECTION("a file that is too small") {
        fake.run([&] {
            fake.slot_template.file_size = 4096;
            fake.add_slot();
        });
        expected = "of a file of 4096 bytes";
    }
    SECTION("an offset that overflows") {
        fake.run([&] {
            fake.slot_template.file_size = 4096;
            fake.slot_template.offset = UINT32_MAX;
            fake.add_slot();
        });
        expected = "of a file of 4096 bytes";
    }
    SECTION("rows that overlap") {
        fake.run([&] {
            fake.slot_template.stride = 16;
            fake.slot_template.file_size = 1 << 20;
            fake.add_slot();
        });
        expected = "stride of 16";
    }
    SECTION("memory that can shrink") {
        fake.run([&] {
            fake.slot_template.sealed = false;
            fake.add_slot();
        });
        expected = "not sealed";
    }
    SECTION("too many planes") {
        fake.run([&] {
            fake.slot_template.planes = 5;
            fake.add_slot();
        });
        expected = "5 planes";
    }
    SECTION("memory of no kind") {
        fake.run([&] {
            fake.slot_template.memory = 9;
            fake.add_slot();
        });
        expected = "kind 9";
    }
    SECTION("an unknown path") {
        fake.run([&] {
            uint32_t slot = fake.add_slot();
            fake.send_frame_in(slot, {.path = 9});
        });
        expected = "path 9";
    }
    SECTION("a size that can't be") {
        fake.run([&] {
            fake.height = 0;
            fake.slot_template.file_size = 4096;
            fake.add_slot();
        });
        expected = "64x0";
    }
    SECTION("an implicit modifier") {
        fake.run([&] {
            fake.modifier = 0x00ffffffffffffffULL;
            fake.add_slot();
        });
        expected = "explicit modifier";
    }
    SECTION("an error of the compositor") {
        fake.run([&] { wl_resource_post_error(fake.capture(), 1, "no such serial"); });
        expected = "error 1 of stepscope_capture_v1";
    }
    CHECK_THAT(pipeline.wait_error(), ContainsSubstring(expected));
    pipeline.stop();
}
