// SPDX-License-Identifier: LGPL-2.1-or-later
// The frame socket with real DMA-BUFs, and fences that are late on purpose on both sides.
#include <gst/allocators/gstdmabuf.h>
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>
#include <sys/stat.h>

#include <atomic>

#include "base/udmabuf.hpp"
#include "gst/gst_ptr.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"
#include "tests/support/frame_server_fixture.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

struct Devices {
    Vgem vgem = require_device(Vgem::open());
    Udmabuf udmabuf = require_device(Udmabuf::open());
    DmaBuf picture = must(udmabuf.allocate(4096));
    DmaBuf other = must(udmabuf.allocate(4096));

    /** A sync_file of work that goes on until the fence is signalled. */
    std::pair<Vgem::Fence, SyncFile> late() {
        Vgem::Fence fence = must(vgem.attach(other, BufferAccess::write));
        return {fence, must(other.export_sync_file(BufferAccess::read))};
    }
};

ino_t inode_of(int fd) {
    struct stat status{};
    ::fstat(fd, &status);
    return status.st_ino;
}

struct Producer : ServerFixture {
    explicit Producer(const Devices& devices) : ServerFixture(wire::Mode::live) {
        server->set_stream(small_stream(wire::Memory::dmabuf));
        std::vector<UniqueFd> files;
        files.push_back(must(devices.picture.duplicate()).take());
        slot = server->add_slot(small_slot(devices.picture.size()), std::move(files));
    }
    uint32_t slot = 0;
};

/** fencesink behind an appsrc. */
struct Pipeline {
    explicit Pipeline(const std::string& description) {
        gst_init(nullptr, nullptr);
        GError* error = nullptr;
        pipeline.reset(gst_parse_launch(description.c_str(), &error));
        if (error != nullptr) {
            FAIL(error->message);
        }
        gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
    }
    ~Pipeline() { gst_element_set_state(pipeline.get(), GST_STATE_NULL); }
    GstPtr<GstElement> find(const char* name) {
        return GstPtr<GstElement>(gst_bin_get_by_name(GST_BIN(pipeline.get()), name));
    }
    GstPtr<GstElement> pipeline;
};

constexpr const char* kCaps =
    "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=XR24,width=16,height=16,framerate=0/1";

GstPtr<GstBuffer> make_buffer(const Devices& devices, GstStepscopeFence* fence) {
    GstPtr<GstAllocator> allocator(gst_dmabuf_allocator_new());
    GstPtr<GstBuffer> buffer(gst_buffer_new());
    gst_buffer_append_memory(
        buffer.get(),
        gst_dmabuf_allocator_alloc(allocator.get(), must(devices.picture.duplicate()).take().take(),
                                   devices.picture.size()));
    const gsize offset[4] = {0};
    const gint stride[4] = {64};
    gst_buffer_add_video_meta_full(buffer.get(), GST_VIDEO_FRAME_FLAG_NONE,
                                   GST_VIDEO_FORMAT_DMA_DRM, 16, 16, 1, offset, stride);
    if (fence != nullptr) {
        gst_buffer_add_stepscope_fence_meta(buffer.get(), fence);
    }
    return buffer;
}

/** Pushes a buffer; true is written when its last reference has gone. */
void push(GstElement* source, GstPtr<GstBuffer> buffer, std::atomic<bool>& freed) {
    gst_mini_object_weak_ref(
        GST_MINI_OBJECT_CAST(buffer.get()),
        [](gpointer flag, GstMiniObject*) { *static_cast<std::atomic<bool>*>(flag) = true; },
        &freed);
    gst_app_src_push_buffer(GST_APP_SRC(source), buffer.release());
}

/** What consumers have added; to be asked once, when the buffer is back. */
std::vector<UniqueFd> release_fences(GstStepscopeFence* fence) {
    gsize count = 0;
    gint* fds = gst_stepscope_fence_take_release_fds(fence, &count);
    std::vector<UniqueFd> taken;
    for (gsize index = 0; index < count; ++index) {
        taken.emplace_back(fds[index]);
    }
    g_free(fds);
    return taken;
}

}  // namespace

TEST_CASE("a frame goes out at once, with the fence that it waits for") {
    Devices devices;
    Producer producer(devices);
    auto consumer = producer.connect({.capabilities = 15, .credits = 2});
    auto [late, fence] = devices.late();
    producer.deliver(producer.slot, fence.fd());
    auto slot = await<wire::Slot>(*consumer);
    CHECK(inode_of(slot.fds.at(0).get()) == devices.picture.inode());
    auto frame = await<wire::Frame>(*consumer);
    REQUIRE(frame.fds.size() == 1);
    SyncFile got = must(SyncFile::adopt(std::move(frame.fds[0])));
    CHECK_FALSE(must(got.wait(20ms)));
    must(late.signal());
    CHECK(must(got.wait(5s)));
}

TEST_CASE("memory that was released with a fence is given back when that has signalled") {
    Devices devices;
    Producer producer(devices);
    auto consumer = producer.connect({.capabilities = 15, .credits = 2});
    auto lease = producer.deliver(producer.slot, -1);
    auto frame = await<wire::Frame>(*consumer);
    auto [late, fence] = devices.late();
    consumer->send({wire::Release{frame.message.frame}}, std::move(fence).take());
    CHECK(eventually([&] { return producer.server->stats().held == 0; }));
    std::this_thread::sleep_for(50ms);
    CHECK_FALSE(lease.expired());
    must(late.signal());
    CHECK(eventually([&] { return lease.expired(); }));
}

TEST_CASE("what is no fence ends the connection") {
    Devices devices;
    Producer producer(devices);
    auto consumer = producer.connect({.capabilities = 15, .credits = 2});
    producer.deliver(producer.slot, -1);
    auto frame = await<wire::Frame>(*consumer);
    consumer->send({wire::Release{frame.message.frame}}, must(devices.picture.duplicate()).take());
    auto gone = consumer->next(std::chrono::steady_clock::now() + 20s);
    REQUIRE_FALSE(gone);
    CHECK(gone.error().message.contains("sync_file"));
}

TEST_CASE("fencesink sends the fence of the meta, and brings release fences back to it") {
    Devices devices;
    ServerFixture folder(wire::Mode::live);
    const std::string path = folder.directory + "/sink";
    Pipeline pipeline(std::string("appsrc name=source is-live=true format=time caps=\"") + kCaps +
                      "\" ! fencesink wait=credits socket-path=" + path);
    auto [late, acquire] = devices.late();
    GstStepscopeFence* fence = gst_stepscope_fence_new(std::move(acquire).take().take());
    GstPtr<GstElement> source = pipeline.find("source");
    std::atomic<bool> freed = false;
    push(source.get(), make_buffer(devices, fence), freed);
    auto consumer = FrameClient::connect(path, {}, {.capabilities = 15, .credits = 1},
                                         std::chrono::seconds(20));
    REQUIRE(consumer);
    CHECK(inode_of(await<wire::Slot>(**consumer).fds.at(0).get()) == devices.picture.inode());
    auto frame = await<wire::Frame>(**consumer);
    REQUIRE(frame.fds.size() == 1);
    SyncFile got = must(SyncFile::adopt(std::move(frame.fds[0])));
    CHECK_FALSE(must(got.wait(20ms)));
    must(late.signal());
    CHECK(must(got.wait(5s)));

    auto [reading, release] = devices.late();
    (*consumer)->send({wire::Release{frame.message.frame}}, std::move(release).take());
    CHECK(eventually([&] { return freed.load(); }));
    std::vector<UniqueFd> returned = release_fences(fence);
    REQUIRE(returned.size() == 1);
    SyncFile back = must(SyncFile::adopt(std::move(returned[0])));
    CHECK_FALSE(must(back.wait(20ms)));
    must(reading.signal());
    CHECK(must(back.wait(5s)));
    gst_stepscope_fence_unref(fence);
}

TEST_CASE("fencesink finds the fence that is in a DMA-BUF, and waits for who knows none") {
    Devices devices;
    ServerFixture folder(wire::Mode::live);
    const std::string path = folder.directory + "/sink";
    Pipeline pipeline(std::string("appsrc name=source is-live=true format=time caps=\"") + kCaps +
                      "\" ! fencesink name=sink socket-path=" + path);
    GstPtr<GstElement> source = pipeline.find("source");
    auto able = FrameClient::connect(path, {}, {.capabilities = 15, .credits = 4},
                                     std::chrono::seconds(20));
    REQUIRE(able);
    Vgem::Fence first = must(devices.vgem.attach(devices.picture, BufferAccess::write));
    gst_app_src_push_buffer(GST_APP_SRC(source.get()), make_buffer(devices, nullptr).release());
    auto frame = await<wire::Frame>(**able);
    REQUIRE(frame.fds.size() == 1);
    must(first.signal());

    auto plain =
        FrameClient::connect(path, {}, {.capabilities = 3, .credits = 4}, std::chrono::seconds(20));
    REQUIRE(plain);
    Vgem::Fence second = must(devices.vgem.attach(devices.picture, BufferAccess::write));
    gst_app_src_push_buffer(GST_APP_SRC(source.get()), make_buffer(devices, nullptr).release());
    for (const auto early = std::chrono::steady_clock::now() + 100ms;
         std::chrono::steady_clock::now() < early;) {
        auto event = (*plain)->next(early);
        REQUIRE(event);
        CHECK_FALSE((*event && std::holds_alternative<wire::Frame>((*event)->message)));
    }
    must(second.signal());
    CHECK(await<wire::Frame>(**plain).fds.empty());
}

TEST_CASE("fencesrc has the memory and the fences of the other process") {
    Devices devices;
    ServerFixture folder(wire::Mode::live);
    const std::string path = folder.directory + "/sink";
    Pipeline sending(std::string("appsrc name=source is-live=true format=time caps=\"") + kCaps +
                     "\" ! fencesink wait=credits socket-path=" + path);
    Pipeline receiving("fencesrc timeout=20000 socket-path=" + path +
                       " ! appsink name=sink sync=false enable-last-sample=false");
    GstPtr<GstElement> source = sending.find("source");
    GstPtr<GstElement> sink = receiving.find("sink");
    auto pull = [&] {
        return gst_app_sink_try_pull_sample(GST_APP_SINK(sink.get()), 20 * GST_SECOND);
    };
    // appsink keeps its first buffer, so that one does not count.
    gst_app_src_push_buffer(GST_APP_SRC(source.get()), make_buffer(devices, nullptr).release());
    GstSample* first = pull();
    REQUIRE(first != nullptr);
    gst_sample_unref(first);

    auto [late, acquire] = devices.late();
    GstStepscopeFence* fence = gst_stepscope_fence_new(std::move(acquire).take().take());
    gst_app_src_push_buffer(GST_APP_SRC(source.get()), make_buffer(devices, fence).release());
    GstSample* sample = pull();
    REQUIRE(sample != nullptr);
    GstBuffer* buffer = gst_sample_get_buffer(sample);
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    REQUIRE(gst_is_dmabuf_memory(memory));
    CHECK(inode_of(gst_dmabuf_memory_get_fd(memory)) == devices.picture.inode());
    // appsink knows no fences: it is in the buffer's memory for it.
    SyncFile inside = must(devices.picture.export_sync_file(BufferAccess::read));
    CHECK_FALSE(must(inside.wait(20ms)));
    must(late.signal());
    CHECK(must(inside.wait(5s)));

    GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer);
    REQUIRE(meta != nullptr);
    CHECK(gst_stepscope_fence_is_ready(meta->fence));
    gst_sample_unref(sample);
    gst_stepscope_fence_unref(fence);
}
