// SPDX-License-Identifier: LGPL-2.1-or-later
// The frame socket with real DMA-BUFs, and fences that are late on purpose on both sides.
#include <gst/allocators/gstdmabuf.h>
#include <gst/app/gstappsrc.h>
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <atomic>
#include <mutex>
#include <thread>

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

    /** A sync_file of work that goes on until the fence is signalled; one at a time. */
    std::pair<Vgem::Fence, SyncFile> late() { return late_in(other); }
    std::pair<Vgem::Fence, SyncFile> late_in(const DmaBuf& buffer) {
        Vgem::Fence fence = must(vgem.attach(buffer, BufferAccess::write));
        return {fence, must(buffer.export_sync_file(BufferAccess::read))};
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

uint64_t stat_of(GstElement* element, const char* name) {
    GstStructure* stats = nullptr;
    g_object_get(element, "stats", &stats, nullptr);
    guint64 value = 0;
    const bool found = gst_structure_get_uint64(stats, name, &value) != FALSE;
    gst_structure_free(stats);
    REQUIRE(found);
    return value;
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

/** The fence took one release fence, and that is the one of `reading`, which ends with it. */
void check_returned(GstStepscopeFence* fence, Vgem::Fence& reading) {
    std::vector<UniqueFd> returned = release_fences(fence);
    REQUIRE(returned.size() == 1);
    SyncFile back = must(SyncFile::adopt(std::move(returned[0])));
    CHECK_FALSE(must(back.wait(20ms)));
    must(reading.signal());
    CHECK(must(back.wait(5s)));
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
    check_returned(fence, reading);
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

namespace {

/** A producer and a consumer, with the socket between them. The consumer keeps what it gets. */
struct TwoPipelines {
    TwoPipelines()
        : path(folder.directory + "/sink"),
          sending(std::string("appsrc name=source is-live=true format=time caps=\"") + kCaps +
                  "\" ! fencesink name=sink wait=credits socket-path=" + path),
          // Not an appsink: that keeps the last buffer it has handed out.
          receiving("fencesrc timeout=20000 socket-path=" + path +
                    " ! fakesink name=sink signal-handoffs=true enable-last-sample=false"
                    " async=false") {
        GstPtr<GstElement> sink = receiving.find("sink");
        g_signal_connect(sink.get(), "handoff", G_CALLBACK(take), this);
    }

    static void take(GstElement* /*sink*/, GstBuffer* buffer, GstPad* /*pad*/, gpointer data) {
        auto* self = static_cast<TwoPipelines*>(data);
        std::lock_guard lock(self->mutex);
        self->kept.reset(gst_buffer_ref(buffer));
    }

    void send(GstPtr<GstBuffer> buffer) {
        GstPtr<GstElement> source = sending.find("source");
        push(source.get(), std::move(buffer), freed);
    }

    GstPtr<GstBuffer> receive() {
        REQUIRE(eventually([&] {
            std::lock_guard lock(mutex);
            return kept != nullptr;
        }));
        std::lock_guard lock(mutex);
        return std::move(kept);
    }

    ServerFixture folder{wire::Mode::live};
    const std::string path;
    std::atomic<bool> freed = false;  // nobody has the producer's buffer any more
    std::mutex mutex;                 // guards the next one
    GstPtr<GstBuffer> kept;
    Pipeline sending;
    Pipeline receiving;
};

void add_release_fence(GstBuffer* buffer, UniqueFd fd) {
    GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer);
    REQUIRE(meta != nullptr);
    REQUIRE(gst_stepscope_fence_add_release_fd(meta->fence, fd.take(), nullptr));
}

}  // namespace

TEST_CASE("fencesrc has the memory and the fences of the other process") {
    Devices devices;
    TwoPipelines pipelines;
    auto [late, acquire] = devices.late();
    GstStepscopeFence* fence = gst_stepscope_fence_new(std::move(acquire).take().take());
    pipelines.send(make_buffer(devices, fence));
    GstPtr<GstBuffer> buffer = pipelines.receive();
    GstMemory* memory = gst_buffer_peek_memory(buffer.get(), 0);
    REQUIRE(gst_is_dmabuf_memory(memory));
    CHECK(inode_of(gst_dmabuf_memory_get_fd(memory)) == devices.picture.inode());
    // fakesink knows no fences: it is in the buffer's memory for it.
    SyncFile inside = must(devices.picture.export_sync_file(BufferAccess::read));
    CHECK_FALSE(must(inside.wait(20ms)));
    GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer.get());
    REQUIRE(meta != nullptr);
    CHECK_FALSE(gst_stepscope_fence_is_ready(meta->fence));
    must(late.signal());
    CHECK(must(inside.wait(5s)));
    CHECK(gst_stepscope_fence_is_ready(meta->fence));
    gst_stepscope_fence_unref(fence);
}

TEST_CASE("a release fence of fencesrc's consumer comes back with the producer's buffer") {
    Devices devices;
    TwoPipelines pipelines;
    GstStepscopeFence* fence = gst_stepscope_fence_new(-1);
    pipelines.send(make_buffer(devices, fence));
    GstPtr<GstBuffer> buffer = pipelines.receive();
    auto [reading, release] = devices.late();
    add_release_fence(buffer.get(), std::move(release).take());
    CHECK_FALSE(pipelines.freed);
    buffer.reset();
    CHECK(eventually([&] { return pipelines.freed.load(); }));
    check_returned(fence, reading);
    gst_stepscope_fence_unref(fence);
}

TEST_CASE("a release fence of fencesrc's consumer keeps a buffer that can't take it") {
    Devices devices;
    TwoPipelines pipelines;
    pipelines.send(make_buffer(devices, nullptr));
    GstPtr<GstBuffer> buffer = pipelines.receive();
    auto [one, first] = devices.late();
    DmaBuf third = must(devices.udmabuf.allocate(4096));
    auto [two, second] = devices.late_in(third);
    add_release_fence(buffer.get(), std::move(first).take());
    add_release_fence(buffer.get(), std::move(second).take());
    buffer.reset();
    // The consumer is done; only its fences are not.
    GstPtr<GstElement> sink = pipelines.sending.find("sink");
    CHECK(eventually([&] { return stat_of(sink.get(), "held") == 0; }));
    CHECK_FALSE(pipelines.freed);
    must(one.signal());
    std::this_thread::sleep_for(50ms);
    CHECK_FALSE(pipelines.freed);
    must(two.signal());
    CHECK(eventually([&] { return pipelines.freed.load(); }));
}

TEST_CASE("a release fence that is no sync_file is waited for by fencesrc") {
    Devices devices;
    TwoPipelines pipelines;
    pipelines.send(make_buffer(devices, nullptr));
    GstPtr<GstBuffer> buffer = pipelines.receive();
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    add_release_fence(buffer.get(), event.duplicate());
    std::jthread consumer([&] { buffer.reset(); });
    std::this_thread::sleep_for(50ms);
    CHECK_FALSE(pipelines.freed);
    REQUIRE(::eventfd_write(event.get(), 1) == 0);
    CHECK(eventually([&] { return pipelines.freed.load(); }));
}
