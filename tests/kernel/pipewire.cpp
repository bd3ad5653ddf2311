// SPDX-License-Identifier: LGPL-2.1-or-later
// DMA-BUFs, fences and timelines from a game through a PipeWire daemon to consumers, and back. The
// game shows its pictures before it has drawn them and spoils each buffer as soon as it gets it
// back.
#include <spa/buffer/meta.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/dmabuf.hpp"
#include "base/timeline.hpp"
#include "base/udmabuf.hpp"
#include "capture_session.hpp"
#include "pipewire_daemon.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"
#include "tests/support/pipewire_consumer.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kLinear = 0;
constexpr uint64_t kTiled = (uint64_t{1} << 56) | 1;  // somebody's, not ours
constexpr uint32_t kScaledWidth = 160;
constexpr uint32_t kScaledHeight = 120;

int64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

ino_t inode_of(int fd) {
    struct stat status{};
    REQUIRE(::fstat(fd, &status) == 0);
    return status.st_ino;
}

ino_t inode_of(const pw_buffer* buffer) {
    return inode_of(static_cast<int>(buffer->buffer->datas[0].fd));
}

/** What the memory holds right now, for who does not wait for anything. */
frame_code::FrameCheck check_raw(const PipewireConsumer& consumer, const pw_buffer* buffer) {
    const spa_data& data = buffer->buffer->datas[0];
    const size_t offset = data.mapoffset + data.chunk->offset;
    const auto stride = static_cast<size_t>(data.chunk->stride);
    const size_t size = offset + stride * consumer.height();
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, static_cast<int>(data.fd), 0);
    REQUIRE(mapped != MAP_FAILED);
    const auto check = frame_code::check_frame({static_cast<const uint8_t*>(mapped) + offset,
                                                static_cast<int>(consumer.width()),
                                                static_cast<int>(consumer.height()), stride});
    ::munmap(mapped, size);
    return check;
}

/** For who looks for fences where drivers do. */
frame_code::FrameCheck check_mapped(const PipewireConsumer& consumer, const pw_buffer* buffer) {
    const int fd = static_cast<int>(buffer->buffer->datas[0].fd);
    const DmaBuf memory = must(DmaBuf::adopt(UniqueFd::duplicate(fd)));
    REQUIRE(must(must(memory.export_sync_file(BufferAccess::read)).wait(60s)));
    return check_raw(consumer, buffer);
}

Timeline timeline_of(const pw_buffer* buffer, int device, uint32_t from_end) {
    const spa_buffer& data = *buffer->buffer;
    REQUIRE(data.n_datas >= 3);
    REQUIRE(data.datas[data.n_datas - from_end].type == SPA_DATA_SyncObj);
    return must(Timeline::import(device, static_cast<int>(data.datas[data.n_datas - from_end].fd)));
}

UniqueFd timeline_device() {
    for (const RenderNode& node : render_nodes()) {
        UniqueFd device = must(open_render_node(node.driver));
        if (Timeline::supported(device.get())) {
            return device;
        }
    }
    missing("no device has timelines");
}

/** Each of the game's buffers was shown again after `since`: none is lost to it. */
bool all_in_use(const CaptureSession& session, int64_t since) {
    const std::set<ino_t> all = session.inodes();
    REQUIRE(all.size() == 6);
    return session.wait_for([&](const auto& lines) {
        std::set<ino_t> seen;
        for (const auto& line : lines) {
            if (line.at("event") == "shown" && line.at("time_ns").template get<int64_t>() > since) {
                seen.insert(line.at("inode").template get<ino_t>());
            }
        }
        return seen == all;
    });
}

bool was_shown(const CaptureSession& session, ino_t inode, int64_t from, int64_t to) {
    for (const auto& line : session.report()) {
        const auto time = line.at("time_ns").get<int64_t>();
        if (line.at("event") == "shown" && line.at("inode").get<ino_t>() == inode && time > from &&
            time < to) {
            return true;
        }
    }
    return false;
}

/** Pictures until one is in the game's own memory: the first ones may be copies. */
pw_buffer* next_own(PipewireConsumer& consumer, const std::set<ino_t>& inodes) {
    for (int tries = 0; tries < 200; ++tries) {
        pw_buffer* buffer = consumer.next();
        INFO(consumer.error());
        REQUIRE(buffer != nullptr);
        if (inodes.contains(inode_of(buffer))) {
            return buffer;
        }
        consumer.give_back(buffer);
    }
    FAIL("no picture in the game's own memory");
    return nullptr;
}

/** Without timelines: the buffers are the game's, and their fences are where drivers look. */
void check_identity(const CaptureSession& session) {
    const std::set<ino_t> inodes = session.inodes();
    PipewireConsumer consumer("stepscope." + session.name(),
                              {.modifiers = {kTiled, kLinear}, .timelines = true});
    consumer.give_back(next_own(consumer, inodes));
    // Ours to choose, and then chosen.
    CHECK(consumer.formats() > consumer.pools());
    CHECK(consumer.modifier() == kLinear);
    int own = 0;
    std::set<ino_t> seen;
    for (int frame = 0; frame < 60; ++frame) {
        pw_buffer* buffer = consumer.next();
        REQUIRE(buffer != nullptr);
        REQUIRE(buffer->buffer->datas[0].type == SPA_DATA_DmaBuf);
        // Who does not say what it releases gets none.
        REQUIRE(sync_points_of(buffer) == nullptr);
        REQUIRE(check_mapped(consumer, buffer).intact());
        own += inodes.contains(inode_of(buffer)) ? 1 : 0;
        seen.insert(inode_of(buffer));
        consumer.give_back(buffer);
    }
    CHECK(own >= 50);
    CHECK(seen.size() > 3);
}

/** Acquire points that are pending, and are honoured. */
void check_acquire(const CaptureSession& session, int device) {
    PipewireConsumer consumer(
        "stepscope." + session.name(),
        {.modifiers = {kLinear}, .shared_memory = false, .timelines = true, .release = true});
    consumer.give_back(next_own(consumer, session.inodes()));
    int undrawn = 0;
    for (int frame = 0; frame < 30; ++frame) {
        pw_buffer* buffer = consumer.next();
        REQUIRE(buffer != nullptr);
        spa_meta_sync_timeline* points = sync_points_of(buffer);
        REQUIRE(points != nullptr);
        REQUIRE((points->flags & SPA_META_SYNC_TIMELINE_UNSCHEDULED_RELEASE) != 0);
        REQUIRE(points->release_point > points->acquire_point);
        const Timeline acquire = timeline_of(buffer, device, 2);
        if (!must(acquire.wait(points->acquire_point, Timeline::Until::signaled, 0ns))) {
            undrawn += check_raw(consumer, buffer).intact() ? 0 : 1;
        }
        REQUIRE(must(acquire.wait(points->acquire_point, Timeline::Until::signaled, 60s)));
        REQUIRE(check_raw(consumer, buffer).intact());
        // Promised, and kept.
        points->flags = 0;
        must(timeline_of(buffer, device, 1).signal(points->release_point));
        consumer.give_back(buffer);
    }
    CHECK(undrawn > 0);
}

/** A buffer goes back to the game when its release point is signalled, not when PipeWire has it. */
void check_release(const CaptureSession& session, int device) {
    PipewireConsumer consumer(
        "stepscope." + session.name(),
        {.modifiers = {kLinear}, .shared_memory = false, .timelines = true, .release = true});
    pw_buffer* buffer = next_own(consumer, session.inodes());
    const ino_t inode = inode_of(buffer);
    spa_meta_sync_timeline* points = sync_points_of(buffer);
    REQUIRE(points != nullptr);
    const Timeline acquire = timeline_of(buffer, device, 2);
    REQUIRE(must(acquire.wait(points->acquire_point, Timeline::Until::signaled, 60s)));
    const auto number = check_raw(consumer, buffer).number;
    REQUIRE(number);
    const Timeline release = timeline_of(buffer, device, 1);
    const uint64_t release_point = points->release_point;
    points->flags = 0;
    const int64_t given_back = monotonic_ns();
    consumer.give_back(buffer);
    // First there is no fence at all at the point, then one that is pending.
    const auto drop_others = [&](int frames) {
        for (int frame = 0; frame < frames; ++frame) {
            pw_buffer* other = consumer.next();
            REQUIRE(other != nullptr);
            CHECK(inode_of(other) != inode);
            consumer.give_back(other);  // dropped: no promise, no release
        }
    };
    drop_others(12);
    const Vgem vgem = must(Vgem::open());
    const DmaBuf scratch = must(must(Udmabuf::open()).allocate(4096));
    // The kernel signals it by itself after ten seconds.
    const Vgem::Fence reading = must(vgem.attach(scratch, BufferAccess::write));
    must(release.import_point(release_point, must(scratch.export_sync_file(BufferAccess::read))));
    drop_others(8);
    CHECK(check_raw(consumer, buffer).number == number);
    const int64_t before_signal = monotonic_ns();
    must(reading.signal());
    CHECK_FALSE(was_shown(session, inode, given_back, before_signal));
    // All the dropped ones are released, and at last this one.
    const int64_t since = monotonic_ns();
    bool all = false;
    for (int frame = 0; frame < 200 && !all; ++frame) {
        pw_buffer* other = consumer.next();
        REQUIRE(other != nullptr);
        all = inode_of(other) == inode;
        consumer.give_back(other);
    }
    CHECK(all);
    CHECK(all_in_use(session, since));
}

/** A picture that is drawn from one that is not drawn yet: in shared memory, and scaled. */
void check_copies(const CaptureSession& session) {
    for (bool scaled : {false, true}) {
        ConsumerAbilities abilities;
        if (scaled) {
            abilities.width = kScaledWidth;
            abilities.height = kScaledHeight;
            abilities.modifiers = {kLinear};
            abilities.shared_memory = false;
        }
        PipewireConsumer consumer("stepscope." + session.name(), abilities);
        for (int frame = 0; frame < 30; ++frame) {
            pw_buffer* buffer = consumer.next();
            INFO(consumer.error());
            REQUIRE(buffer != nullptr);
            REQUIRE(buffer->buffer->datas[0].type == (scaled ? SPA_DATA_DmaBuf : SPA_DATA_MemFd));
            REQUIRE(consumer.width() == (scaled ? kScaledWidth : kWidth));
            if (!scaled) {
                REQUIRE(check_raw(consumer, buffer).intact());
            }
            consumer.give_back(buffer);
        }
    }
}

void check_everything(const std::vector<std::string>& game) {
    std::vector<std::string> options{"--buffers", "6", "--rate", "20", "--late", "30"};
    options.insert(options.end(), game.begin(), game.end());
    const UniqueFd device = timeline_device();
    const PipewireDaemon daemon;
    const CaptureSession session(options, {"--pipewire", "--audio", "off"});
    check_identity(session);
    check_acquire(session, device.get());
    check_release(session, device.get());
    check_copies(session);
    CHECK(all_in_use(session, monotonic_ns()));
}

}  // namespace

TEST_CASE("DMA-BUFs with implicit sync reach PipeWire's consumers, drawn, and go back") {
    check_everything({"--memory", "udmabuf"});
}

TEST_CASE("DMA-BUFs with explicit sync reach PipeWire's consumers, drawn, and go back") {
    check_everything({"--memory", "dma-heap", "--explicit-sync"});
}
