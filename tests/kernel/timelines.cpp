// SPDX-License-Identifier: LGPL-2.1-or-later
// drm_syncobj timelines on virtio-gpu, and their way from and to sync_files.
#include <poll.h>
#include <sys/eventfd.h>

#include <chrono>
#include <thread>

#include "base/timeline.hpp"
#include "base/udmabuf.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using namespace std::chrono_literals;
using Until = Timeline::Until;

namespace {
/** A device with timelines: virtio-gpu in the VM, elsewhere any. */
UniqueFd timeline_device() {
    for (const RenderNode& node : render_nodes()) {
        UniqueFd fd = must(open_render_node(node.driver));
        if (Timeline::supported(fd.get())) {
            return fd;
        }
    }
    missing("no render node has timeline syncobjs");
}

bool readable(int fd) {
    pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&poll, 1, 0) == 1;
}
}  // namespace

TEST_CASE("points are signalled in order and can be waited for in advance") {
    UniqueFd device = timeline_device();
    Timeline timeline = must(Timeline::create(device.get()));
    CHECK(must(timeline.last_signaled()) == 0);
    CHECK_FALSE(must(timeline.wait(1, Until::signaled, 0ns)));
    CHECK_FALSE(must(timeline.wait(1, Until::signaled, 10ms)));
    std::thread signaller([&] {
        std::this_thread::sleep_for(20ms);
        (void)timeline.signal(3);
    });
    const bool came = must(timeline.wait(2, Until::signaled, 60s));
    signaller.join();
    CHECK(came);
    CHECK(must(timeline.last_signaled()) == 3);
    CHECK(must(timeline.wait(3, Until::signaled, 0ns)));
    CHECK_FALSE(must(timeline.wait(4, Until::available, 0ns)));
}

TEST_CASE("a timeline is the same through its descriptor, also on another device file") {
    UniqueFd device = timeline_device();
    UniqueFd again = timeline_device();
    Timeline mine = must(Timeline::create(device.get()));
    UniqueFd fd = must(mine.export_fd());
    Timeline theirs = must(Timeline::import(again.get(), fd.get()));
    must(theirs.signal(7));
    CHECK(must(mine.last_signaled()) == 7);
}

TEST_CASE("something that is no timeline is refused") {
    UniqueFd device = timeline_device();
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    auto refused = Timeline::import(device.get(), event.get());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().fault == Fault::protocol);
    CHECK(Timeline::create(event.get()).error().fault == Fault::unsupported);
}

TEST_CASE("vgem has no timelines, and that is said") {
    UniqueFd device = require_device(open_render_node("vgem"));
    CHECK_FALSE(Timeline::supported(device.get()));
    CHECK(Timeline::create(device.get()).error().fault == Fault::unsupported);
}

TEST_CASE("a point without a fence can't be exported, a signalled one can") {
    UniqueFd device = timeline_device();
    Timeline timeline = must(Timeline::create(device.get()));
    auto early = timeline.export_point(1);
    REQUIRE_FALSE(early);
    CHECK(early.error().fault == Fault::not_found);
    must(timeline.signal(1));
    CHECK(must(must(timeline.export_point(1)).status()) == FenceStatus::signaled);
}

TEST_CASE("an eventfd tells of a point that is signalled") {
    UniqueFd device = timeline_device();
    Timeline timeline = must(Timeline::create(device.get()));
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    must(timeline.notify(2, Until::signaled, event.get()));
    must(timeline.signal(1));
    CHECK_FALSE(readable(event.get()));
    must(timeline.signal(2));
    CHECK(readable(event.get()));
}

TEST_CASE("a late fence makes a point available at once and signals it when it comes") {
    UniqueFd device = timeline_device();
    Vgem vgem = require_device(Vgem::open());
    Udmabuf udmabuf = require_device(Udmabuf::open());
    DmaBuf buffer = must(udmabuf.allocate(4096));
    Timeline timeline = must(Timeline::create(device.get()));
    UniqueFd available(::eventfd(0, EFD_CLOEXEC));
    must(timeline.notify(1, Until::available, available.get()));

    Vgem::Fence late = must(vgem.attach(buffer, BufferAccess::write));
    must(timeline.import_point(1, must(buffer.export_sync_file(BufferAccess::read))));
    CHECK(readable(available.get()));
    CHECK(must(timeline.wait(1, Until::available, 0ns)));
    CHECK_FALSE(must(timeline.wait(1, Until::signaled, 10ms)));
    SyncFile exported = must(timeline.export_point(1));
    CHECK_FALSE(must(exported.wait(0ns)));

    must(late.signal());
    CHECK(must(exported.wait(std::nullopt)));
    CHECK(must(timeline.wait(1, Until::signaled, std::nullopt)));
    CHECK(must(timeline.last_signaled()) == 1);
}
