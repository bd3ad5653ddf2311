// SPDX-License-Identifier: LGPL-2.1-or-later
// DMA-BUFs and fences from a game through the compositor to a pipeline and back: a game that shows
// its pictures before it has drawn them and spoils each buffer as soon as it gets it back.
#include <gst/stepscope/stepscope.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <filesystem>

#include "base/udmabuf.hpp"
#include "capture_session.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

void kill_consumer_that_holds_frames() {
    std::string self = std::filesystem::read_symlink("/proc/self/exe");
    std::string test = "consumer that holds frames";
    const std::array<char*, 3> arguments{self.data(), test.data(), nullptr};
    int ends[2];
    REQUIRE(::pipe2(ends, 0) == 0);
    const UniqueFd ready(ends[0]);
    UniqueFd told(ends[1]);
    ::setenv("STEPSCOPE_KERNEL_READY", std::to_string(told.get()).c_str(), 1);
    pid_t consumer = -1;
    REQUIRE(::posix_spawn(&consumer, self.c_str(), nullptr, nullptr, arguments.data(), environ) ==
            0);
    told.reset();
    char byte = 0;
    CHECK(::read(ready.get(), &byte, 1) == 1);
    ::kill(consumer, SIGKILL);
    ::waitpid(consumer, nullptr, 0);
}

}  // namespace

TEST_CASE("consumer that holds frames", "[.]") {
    const char* session = std::getenv("STEPSCOPE_KERNEL_SESSION");
    const char* ready = std::getenv("STEPSCOPE_KERNEL_READY");
    REQUIRE(session != nullptr);
    REQUIRE(ready != nullptr);
    gst_init(nullptr, nullptr);
    CapturePipeline pipeline(session, kDmabuf, false);
    const GstPtr<GstBuffer> first = pipeline.pull();
    const GstPtr<GstBuffer> second = pipeline.pull();
    REQUIRE(second);
    REQUIRE(::write(std::atoi(ready), "x", 1) == 1);
    ::pause();
}

namespace {

/** The buffers are those that the game allocated, all of them, and imported once. */
void check_identity(const CaptureSession& session) {
    const std::set<ino_t> inodes = session.inodes();
    CapturePipeline pipeline(session.name(), kDmabuf, false);
    for (int frame = 0; frame < 60; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        REQUIRE(gst_buffer_n_memory(buffer.get()) == 1);
        REQUIRE(inodes.contains(inode_of(buffer.get())));
        REQUIRE(check_mapped(buffer.get()).intact());
    }
    CHECK(pipeline.stat("passed-through") == pipeline.stat("frames"));
    CHECK(pipeline.stat("imports") <= inodes.size());
    // Whoever maps finds the fence in the memory.
    CHECK(pipeline.stat("fences-imported") > 0);
    CHECK(pipeline.stat("fences-waited") == 0);
}

void check_who_knows_fences(const CaptureSession& session) {
    CapturePipeline pipeline(session.name(), kDmabuf, true);
    int pending = 0;
    for (int frame = 0; frame < 20; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        const GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer.get());
        REQUIRE(meta != nullptr);
        // It is being drawn meanwhile: it may be whole and its fence not signalled yet.
        if (!check_raw(buffer.get()).intact() && !gst_stepscope_fence_is_ready(meta->fence)) {
            ++pending;
        }
        REQUIRE(gst_stepscope_fence_wait(meta->fence, 60 * GST_SECOND, nullptr, nullptr));
        REQUIRE(check_raw(buffer.get()).intact());
    }
    CHECK(pending > 0);
    CHECK(pipeline.stat("fences") > 0);
    CHECK(pipeline.stat("fences-imported") == 0);
    CHECK(pipeline.stat("fences-waited") == 0);
}

void check_plain_memory(const CaptureSession& session) {
    CapturePipeline pipeline(session.name(), kPlain, false);
    for (int frame = 0; frame < 20; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        REQUIRE(check_raw(buffer.get()).intact());
    }
    CHECK(pipeline.stat("fences-waited") > 0);
    CHECK(pipeline.stat("copied") == 0);
}

/** Frames that are held do not change, also when the pipeline has gone. */
void check_holding(const CaptureSession& session) {
    std::deque<std::pair<uint32_t, GstPtr<GstBuffer>>> held;
    {
        CapturePipeline pipeline(session.name(), kDmabuf, false);
        for (int frame = 0; frame < 40; ++frame) {
            GstPtr<GstBuffer> buffer = pipeline.pull();
            REQUIRE(buffer);
            const auto check = check_mapped(buffer.get());
            REQUIRE(check.intact());
            held.emplace_back(*check.number, std::move(buffer));
            if (held.size() > 3) {
                const auto now = check_raw(held.front().second.get());
                REQUIRE(now.intact());
                REQUIRE(now.number == held.front().first);
                held.pop_front();
            }
        }
    }
    for (const auto& [number, buffer] : held) {
        const auto now = check_raw(buffer.get());
        CHECK(now.intact());
        CHECK(now.number == number);
    }
    held.clear();
    CHECK(session.all_in_use(monotonic_ns()));
}

/** A buffer goes back to the game when the consumer's fence has signalled, not earlier. */
void check_release_fence(const CaptureSession& session) {
    const Vgem vgem = must(Vgem::open());
    const DmaBuf scratch = must(must(Udmabuf::open()).allocate(4096));
    CapturePipeline pipeline(session.name(), kDmabuf, true);
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    GstStepscopeFence* fence = gst_buffer_get_stepscope_fence_meta(buffer.get())->fence;
    REQUIRE(gst_stepscope_fence_wait(fence, 60 * GST_SECOND, nullptr, nullptr));
    const ino_t inode = inode_of(buffer.get());
    const Vgem::Fence reading = must(vgem.attach(scratch, BufferAccess::write));
    SyncFile file = must(scratch.export_sync_file(BufferAccess::read));
    const int fd = std::move(file).take().take();
    REQUIRE(gst_stepscope_fence_add_release_fd(fence, fd, nullptr));
    const int64_t given_back = monotonic_ns();
    buffer.reset();
    // The game goes on with its other buffers meanwhile.
    for (int frame = 0; frame < 16; ++frame) {
        const GstPtr<GstBuffer> other = pipeline.pull();
        REQUIRE(other);
        CHECK(inode_of(other.get()) != inode);
    }
    const int64_t before_signal = monotonic_ns();
    must(reading.signal());
    pipeline.stop();
    CHECK(session.all_in_use(monotonic_ns()));
    for (const auto& line : session.report()) {
        const auto time = line.at("time_ns").get<int64_t>();
        if (line.at("event") == "shown" && time > given_back && time < before_signal) {
            CHECK(line.at("inode").get<ino_t>() != inode);
        }
    }
}

/** A game gets its buffers back from a consumer that is killed. */
void check_killed_consumer(const CaptureSession& session) {
    ::setenv("STEPSCOPE_KERNEL_SESSION", session.name().c_str(), 1);
    kill_consumer_that_holds_frames();
    CHECK(session.all_in_use(monotonic_ns()));
}

void check_everything(const std::vector<std::string>& game) {
    std::vector<std::string> options{"--buffers", "8", "--rate", "20", "--late", "30"};
    options.insert(options.end(), game.begin(), game.end());
    const CaptureSession session(options);
    check_identity(session);
    check_who_knows_fences(session);
    check_plain_memory(session);
    check_holding(session);
    check_release_fence(session);
    check_killed_consumer(session);
}

}  // namespace

// One test for each way of synchronising: a session takes long to start on an emulated machine.
TEST_CASE("DMA-BUFs with implicit sync reach a pipeline, drawn, and go back") {
    check_everything({"--memory", "udmabuf"});
}

TEST_CASE("DMA-BUFs with explicit sync reach a pipeline, drawn, and go back") {
    check_everything({"--memory", "dma-heap", "--explicit-sync"});
}
