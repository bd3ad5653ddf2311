// SPDX-License-Identifier: LGPL-2.1-or-later
// Formats, sizes and the ways a picture may take.
#include <drm_fourcc.h>
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>

#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;
using Catch::Matchers::ContainsSubstring;

namespace {

void send(FakeCompositor& fake, const FakeFrame& frame = {}) {
    REQUIRE(fake.wait_until([&] { return fake.send_frame(frame); }));
}

}  // namespace

TEST_CASE("shared memory is plain raw video") {
    struct Pair {
        uint32_t fourcc;
        const char* format;
    };
    auto [fourcc, format] =
        GENERATE(Pair{DRM_FORMAT_XRGB8888, "BGRx"}, Pair{DRM_FORMAT_XBGR8888, "RGBx"},
                 Pair{DRM_FORMAT_XRGB2101010, "BGR10x2_LE"},
                 Pair{DRM_FORMAT_XBGR2101010, "RGB10x2_LE"}, Pair{DRM_FORMAT_RGB565, "RGB16"});
    Environment environment;
    FakeCompositor fake;
    fake.run([&] { fake.fourcc = fourcc; });
    SourcePipeline pipeline;
    pipeline.play();
    send(fake);
    REQUIRE(pipeline.pull());
    CHECK_THAT(pipeline.caps(), ContainsSubstring(std::string("format=(string)") + format));
    CHECK_THAT(pipeline.caps(), ContainsSubstring("width=(int)64, height=(int)48"));
    CHECK(pipeline.caps().find("DMABuf") == std::string::npos);
}

TEST_CASE("DMA-BUF memory is named by format and modifier") {
    Environment environment;
    FakeCompositor fake;
    // Caps and metas do not look into the memory: any file will do.
    fake.run([&] { fake.slot_template.memory = 2; });
    SECTION("linear has no modifier") {
        SourcePipeline pipeline;
        pipeline.play();
        send(fake);
        REQUIRE(pipeline.pull());
        CHECK_THAT(pipeline.caps(), ContainsSubstring("memory:DMABuf") &&
                                        ContainsSubstring("drm-format=(string)XR24,"));
    }
    SECTION("linear can do without the feature") {
        SourcePipeline pipeline("", "! video/x-raw,format=BGRx");
        pipeline.play();
        send(fake);
        REQUIRE(pipeline.pull());
        CHECK(pipeline.caps().find("DMABuf") == std::string::npos);
    }
    SECTION("tiled, in two planes of one file") {
        fake.run([&] {
            fake.modifier = I915_FORMAT_MOD_Y_TILED_CCS;
            fake.slot_template.planes = 2;
        });
        SourcePipeline pipeline;
        pipeline.play();
        send(fake);
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK_THAT(pipeline.caps(), ContainsSubstring("XR24:0x0100000000000004"));
        CHECK(gst_buffer_n_memory(buffer.get()) == 1);
        GstVideoMeta* meta = gst_buffer_get_video_meta(buffer.get());
        REQUIRE(meta != nullptr);
        CHECK(meta->n_planes == 2);
        CHECK(meta->format == GST_VIDEO_FORMAT_DMA_DRM);
        CHECK(pipeline.stat("imports") == 1);
    }
    SECTION("formats that GStreamer has no raw format for, or only with planes") {
        struct Case {
            uint32_t fourcc;
            unsigned planes;
            const char* name;
        };
        const auto [fourcc, planes, name] = GENERATE(
            Case{DRM_FORMAT_NV12, 2, "NV12"}, Case{DRM_FORMAT_P010, 2, "P010"},
            Case{DRM_FORMAT_XRGB2101010, 1, "XR30"}, Case{DRM_FORMAT_XBGR16161616F, 1, "XB4H"});
        fake.run([&] {
            fake.fourcc = fourcc;
            fake.slot_template.planes = planes;
            fake.slot_template.offset = 256;
            fake.slot_template.stride = 1024;
            fake.slot_template.plane_step = 1024 * 48;
            fake.slot_template.file_size = size_t{1024} * 48 * 2 + 256;
        });
        SourcePipeline pipeline("", "! video/x-raw(memory:DMABuf)");
        pipeline.play();
        send(fake);
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK_THAT(pipeline.caps(),
                   ContainsSubstring(std::string("drm-format=(string)") + name + ","));
        // All of the memory, in one piece; the planes are where the compositor said.
        CHECK(gst_buffer_n_memory(buffer.get()) == 1);
        CHECK(gst_buffer_get_size(buffer.get()) == 1024 * 48 * 2 + 256);
        GstVideoMeta* meta = gst_buffer_get_video_meta(buffer.get());
        REQUIRE(meta != nullptr);
        REQUIRE(meta->n_planes == planes);
        for (unsigned plane = 0; plane < planes; ++plane) {
            CHECK(meta->offset[plane] == 256 + plane * 1024 * 48);
            CHECK(meta->stride[plane] == 1024);
        }
    }
    SECTION("tiled can't be mapped") {
        fake.run([&] { fake.modifier = I915_FORMAT_MOD_X_TILED; });
        SourcePipeline pipeline("", "! video/x-raw,format=BGRx");
        pipeline.play();
        send(fake);
        CHECK_THAT(pipeline.wait_error(), ContainsSubstring("downstream accepts none"));
    }
}

TEST_CASE("a session that changes its size changes the caps first") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    send(fake);
    REQUIRE(pipeline.pull());
    fake.run([&] {
        fake.width = 128;
        fake.height = 96;
        fake.send_output();
    });
    send(fake);
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK_THAT(pipeline.caps(), ContainsSubstring("width=(int)128, height=(int)96"));
    CHECK(gst_buffer_get_size(buffer.get()) == size_t{128} * 96 * 4);
    CHECK(GST_BUFFER_FLAG_IS_SET(buffer.get(), GST_BUFFER_FLAG_DISCONT));
}

TEST_CASE("downstream may choose the size of the game") {
    Environment environment;
    FakeCompositor fake;
    SECTION("before the first picture") {
        SourcePipeline pipeline("", "! video/x-raw,width=320,height=200");
        pipeline.play();
        CHECK(fake.wait_until([&] { return fake.width == 320 && fake.height == 200; }));
        send(fake);
        REQUIRE(pipeline.pull());
        CHECK_THAT(pipeline.caps(), ContainsSubstring("width=(int)320, height=(int)200"));
    }
    SECTION("pictures of the old size are left out") {
        fake.run([&] { fake.obey_size = false; });
        SourcePipeline pipeline("", "! video/x-raw,width=320,height=200");
        pipeline.play();
        send(fake);
        CHECK(pipeline.is_silent());
        fake.run([&] {
            CHECK(fake.log == std::vector<std::string>{"set_output 320x200"});
            fake.width = 320;
            fake.height = 200;
        });
        send(fake);
        REQUIRE(pipeline.pull());
        CHECK(pipeline.stat("frames") == 1);
    }
    SECTION("a session that does not follow is an error") {
        fake.run([&] { fake.obey_size = false; });
        SourcePipeline pipeline("", "! video/x-raw,width=320,height=200");
        pipeline.play();
        send(fake);
        CHECK_THAT(pipeline.wait_error(), ContainsSubstring("gst-core-error-quark:7") &&
                                              ContainsSubstring("320x200") &&
                                              ContainsSubstring("64x48"));
    }
}

TEST_CASE("zero-copy=off copies and lets go at once") {
    Environment environment;
    FakeCompositor fake;
    fake.run([&] { fake.slot_template.stride = 320; });  // padded rows
    SourcePipeline pipeline("zero-copy=off");
    pipeline.play();
    send(fake, {.pixel = 8});
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    CHECK(fake.wait_until([&] { return fake.releases() == 1; }));
    fake.run([&] { fake.fill(1, 9); });
    CHECK(first_byte(buffer.get()) == 8);
    CHECK(gst_buffer_get_size(buffer.get()) == size_t{64} * 48 * 4);
    CHECK(gst_buffer_get_stepscope_frame_meta(buffer.get())->path ==
          GST_STEPSCOPE_FRAME_PATH_COPIED);
    CHECK(pipeline.stat("copied") == 1);
    CHECK(pipeline.stat("passed-through") == 0);
}

TEST_CASE("padded rows are copied for consumers that don't read GstVideoMeta") {
    Environment environment;
    FakeCompositor fake;
    fake.run([&] { fake.slot_template.stride = 320; });
    SECTION("prefer") {
        SourcePipeline pipeline;
        pipeline.play();
        send(fake);
        GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        CHECK(gst_buffer_get_size(buffer.get()) == size_t{64} * 48 * 4);
        CHECK(pipeline.stat("copied") == 1);
    }
    SECTION("require") {
        SourcePipeline pipeline("zero-copy=require");
        pipeline.play();
        send(fake);
        CHECK_THAT(pipeline.wait_error(), ContainsSubstring("padded"));
    }
}

TEST_CASE("zero-copy=require") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline("zero-copy=require");
    pipeline.play();
    // A game that starts: windows first, then fullscreen.
    send(fake, {.path = 2, .reason = 7});
    CHECK(pipeline.is_silent());
    CHECK(fake.wait_until([&] { return fake.held() == 0; }));
    SECTION("holds once a picture has passed through") {
        send(fake);
        REQUIRE(pipeline.pull());
        send(fake, {.path = 2, .reason = 3});
        CHECK_THAT(pipeline.wait_error(), ContainsSubstring("gst-resource-error-quark:13") &&
                                              ContainsSubstring("use cursor=hidden"));
    }
    SECTION("fails after a while, without another picture") {
        CHECK_THAT(pipeline.wait_error(), ContainsSubstring("no window"));
    }
}

TEST_CASE("the way of pictures is announced when it changes") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline;
    pipeline.play();
    auto next = [&] {
        GstPtr<GstMessage> message = pipeline.wait_message(GST_MESSAGE_ELEMENT, "stepscope-path");
        REQUIRE(message);
        const GstStructure* facts = gst_message_get_structure(message.get());
        return std::string(gst_structure_get_string(facts, "path")) + " " +
               gst_structure_get_string(facts, "reason") + " " +
               gst_structure_get_string(facts, "memory");
    };
    send(fake);
    REQUIRE(pipeline.pull());
    CHECK(next() == "passed-through none memfd");
    send(fake);
    send(fake, {.path = 3, .reason = 4});
    CHECK(next() == "copied not-shareable memfd");
}

TEST_CASE("the cursor mode can change while playing") {
    Environment environment;
    FakeCompositor fake;
    SourcePipeline pipeline("cursor=embedded");
    pipeline.play();
    CHECK(fake.wait_until([&] { return fake.cursor() == 1; }));
    gst_util_set_object_arg(G_OBJECT(pipeline.source()), "cursor", "hidden");
    CHECK(fake.wait_until([&] { return fake.cursor() == 0; }));
}
