// SPDX-License-Identifier: LGPL-2.1-or-later
// What stands between a capture and its consumer passes DMA-BUFs on, not copies of them, and gives
// them back.
#include <gst/stepscope/stepscope.h>

#include <filesystem>

#include "capture_session.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

constexpr const char* kSink = "appsink emit-signals=true sync=false max-buffers=1 name=";

std::string source_of(const CaptureSession& session, unsigned max_buffers) {
    return "wlscreencopysrc name=src session=" + session.name() +
           " max-buffers=" + std::to_string(max_buffers) + " ! " + kDmabuf;
}

/** A frame of the game's own memory, whole. */
uint32_t check_own(const CaptureSession& session, GstBuffer* buffer) {
    REQUIRE(buffer != nullptr);
    CHECK(session.inodes().contains(inode_of(buffer)));
    const auto check = check_mapped(buffer);
    REQUIRE(check.intact());
    return *check.number;
}

void check_leaky_queue(const CaptureSession& session) {
    INFO("queue leaky");
    CapturePipeline pipeline(source_of(session, 4) +
                             " ! queue leaky=downstream max-size-buffers=1 ! " + kSink + "sink");
    uint32_t last = check_own(session, pipeline.pull().get());
    const uint32_t first = last;
    for (int round = 0; round < 5; ++round) {
        g_usleep(200'000);
        const uint32_t number = check_own(session, pipeline.pull().get());
        CHECK(number > last);
        last = number;
    }
    // Pictures were dropped, and their buffers are not lost.
    CHECK(last - first > 5);
    std::set<ino_t> missing_ones = session.inodes();
    for (int frame = 0; frame < 200 && !missing_ones.empty(); ++frame) {
        missing_ones.erase(inode_of(pipeline.pull().get()));
    }
    CHECK(missing_ones.empty());
}

/** It goes back when the last branch is done. */
void check_tee(const CaptureSession& session) {
    INFO("tee");
    CapturePipeline pipeline(source_of(session, 6) + " ! tee name=t t. ! queue ! " + kSink +
                             "sink t. ! queue ! " + kSink + "other");
    std::vector<Holding> over;
    for (int frame = 0; frame < 20; ++frame) {
        GstPtr<GstBuffer> one = pipeline.pull();
        const int64_t from = monotonic_ns();
        GstPtr<GstBuffer> two = pipeline.pull("other");
        REQUIRE(check_own(session, one.get()) == check_own(session, two.get()));
        REQUIRE(gst_buffer_peek_memory(one.get(), 0) == gst_buffer_peek_memory(two.get(), 0));
        const ino_t inode = inode_of(two.get());
        (frame % 2 == 0 ? one : two).reset();
        g_usleep(20'000);
        over.push_back({inode, from, monotonic_ns()});
    }
    CHECK(taken_back_early(session, over) == 0);
}

/** Pushes the same memory again, or leaves frames out. */
void check_videorate(const CaptureSession& session) {
    INFO("videorate");
    CapturePipeline pipeline(source_of(session, 6) + " ! videorate ! " + kDmabuf +
                             ",framerate=200/1 ! " + kSink + "sink");
    uint32_t last = 0;
    int repeats = 0;
    for (int frame = 0; frame < 60; ++frame) {
        const uint32_t number = check_own(session, pipeline.pull().get());
        CHECK(number >= last);
        repeats += number == last ? 1 : 0;
        last = number;
    }
    CHECK(repeats > 0);
    CHECK(pipeline.stat("copied") == 0);
}

/** As interpipe does: one pipeline's buffers are pushed into another, which may outlive it. */
void check_second_pipeline(const CaptureSession& session) {
    INFO("appsink to appsrc");
    CapturePipeline first(source_of(session, 6) + " ! " + kSink + "sink");
    GstPtr<GstBuffer> buffer = first.pull();
    REQUIRE(buffer);
    CapturePipeline second(
        "appsrc name=src format=time max-buffers=1 block=true ! queue "
        "max-size-buffers=1 ! " +
        std::string(kSink) + "sink");
    const GstPtr<GstCaps> caps = first.caps();
    g_object_set(second.source(), "caps", caps.get(), nullptr);
    GstPtr<GstBuffer> arrived;
    for (int frame = 0; frame < 20; ++frame) {
        const int64_t from = monotonic_ns();
        GstFlowReturn flow = GST_FLOW_ERROR;
        g_signal_emit_by_name(second.source(), "push-buffer", buffer.get(), &flow);
        REQUIRE(flow == GST_FLOW_OK);
        const ino_t inode = inode_of(buffer.get());
        buffer.reset();
        arrived = second.pull();
        check_own(session, arrived.get());
        REQUIRE(inode_of(arrived.get()) == inode);
        CHECK(taken_back_early(session, {{inode, from, monotonic_ns()}}) == 0);
        buffer = first.pull();
    }
    const uint32_t number = check_own(session, arrived.get());
    buffer.reset();
    first.stop();
    CHECK(session.all_in_use(monotonic_ns(), inode_of(arrived.get())));
    CHECK(check_own(session, arrived.get()) == number);
    second.stop();
    arrived.reset();
    CHECK(session.all_in_use(monotonic_ns()));
}

/** The descriptors travel; a frame goes back when the other end let it go. */
void check_unixfd(const CaptureSession& session) {
    INFO("unixfdsink");
    const GstPtr<GstObject> factory(GST_OBJECT_CAST(gst_element_factory_find("unixfdsink")));
    if (!factory) {
        WARN("unixfdsink is not installed");
        return;
    }
    const std::string socket = session.directory() + "/frames";
    const CapturePipeline sender(source_of(session, 6) +
                                 " ! unixfdsink name=sink sync=false socket-path=" + socket);
    for (int tries = 0; tries < 600 && !std::filesystem::exists(socket); ++tries) {
        g_usleep(100'000);
    }
    CapturePipeline receiver("unixfdsrc name=src socket-path=" + socket + " ! " + kSink + "sink");
    uint32_t last = 0;
    std::vector<Holding> over;
    for (int frame = 0; frame < 20; ++frame) {
        const GstPtr<GstBuffer> buffer = receiver.pull();
        const int64_t from = monotonic_ns();
        const uint32_t number = check_own(session, buffer.get());
        CHECK(number > last);
        last = number;
        g_usleep(gulong{10'000} * static_cast<gulong>(frame % 4));
        CHECK(check_own(session, buffer.get()) == number);
        over.push_back({inode_of(buffer.get()), from, monotonic_ns()});
    }
    CHECK(taken_back_early(session, over) == 0);
    receiver.stop();
    CHECK(session.all_in_use(monotonic_ns()));
}

}  // namespace

TEST_CASE("DMA-BUFs pass through queues, tees, rates, other pipelines and processes") {
    const CaptureSession session(
        {"--buffers", "8", "--rate", "60", "--late", "5", "--memory", "udmabuf"});
    check_leaky_queue(session);
    check_tee(session);
    check_videorate(session);
    check_second_pipeline(session);
    check_unixfd(session);
}
