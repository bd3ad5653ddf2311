// SPDX-License-Identifier: LGPL-2.1-or-later
// Clients that lie about their DMA-BUFs get a protocol error. Neither the session, nor its
// consumer, nor the game beside them notices anything.
#include <drm_fourcc.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/udmabuf.hpp"
#include "capture_session.hpp"
#include "hostile_client.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

constexpr uint32_t kStride = kWidth * 4;
constexpr size_t kSize = size_t{kStride} * kHeight;
constexpr uint64_t kOdd = fourcc_mod_code(SAMSUNG, 1);

/** A buffer that is as it should be. */
ClaimedBuffer honest(int fd) {
    return {kWidth, kHeight, DRM_FORMAT_XRGB8888, 0, {{0, fd, 0, kStride, 0}}};
}

/** Of two planes in one memory: 320x240 bytes, and half of it. */
ClaimedBuffer planar(int fd) {
    return {kWidth,
            kHeight,
            DRM_FORMAT_NV12,
            0,
            {{0, fd, 0, kWidth, 0}, {1, fd, kWidth * kHeight, kWidth, 0}}};
}

struct Lie {
    const char* what;
    ClaimedBuffer claimed;
};

ClaimedBuffer with(ClaimedBuffer claimed, auto change) {
    change(claimed);
    return claimed;
}

std::vector<Lie> lies(int fd, int page, int memfd, int pipe) {
    using Claim = ClaimedBuffer;
    const Claim one = honest(fd);
    const Claim two = planar(fd);
    return {
        {"no stride", with(one, [](Claim& c) { c.planes[0].stride = 0; })},
        {"a stride shorter than a row", with(one, [](Claim& c) { c.planes[0].stride -= 4; })},
        {"a stride of one pixel", with(one, [](Claim& c) { c.planes[0].stride = 4; })},
        {"a stride beyond the memory", with(one, [](Claim& c) { c.planes[0].stride *= 2; })},
        {"a huge stride", with(one, [](Claim& c) { c.planes[0].stride = 0xfffffffc; })},
        {"an offset that leaves too little", with(one, [](Claim& c) { c.planes[0].offset = 4; })},
        {"an offset beyond the memory", with(one, [](Claim& c) { c.planes[0].offset = kSize; })},
        {"a huge offset", with(one, [](Claim& c) { c.planes[0].offset = 0xfffff000; })},
        {"a height beyond the memory", with(one, [](Claim& c) { c.height += 1; })},
        {"a huge height", with(one, [](Claim& c) { c.height = 0x7fffffff; })},
        {"a width beyond the stride", with(one, [](Claim& c) { c.width += 1; })},
        {"a huge width", with(one, [](Claim& c) { c.width = 0x7fffffff; })},
        {"no width", with(one, [](Claim& c) { c.width = 0; })},
        {"a height below zero", with(one, [](Claim& c) { c.height = -kHeight; })},
        {"a page for a picture", with(one, [=](Claim& c) { c.planes[0].fd = page; })},
        {"a memfd", with(one, [=](Claim& c) { c.planes[0].fd = memfd; })},
        {"a pipe", with(one, [=](Claim& c) { c.planes[0].fd = pipe; })},
        {"no plane", with(one, [](Claim& c) { c.planes.clear(); })},
        {"the second plane alone", with(one, [](Claim& c) { c.planes[0].index = 1; })},
        {"a plane too many", with(one, [=](Claim& c) { c.planes.push_back({1, fd, 0, 4, 0}); })},
        {"a gap", with(one, [=](Claim& c) { c.planes.push_back({2, fd, 0, 4, 0}); })},
        {"a plane twice", with(one, [](Claim& c) { c.planes.push_back(c.planes[0]); })},
        {"plane 17", with(one, [](Claim& c) { c.planes[0].index = 17; })},
        {"a plane too few", with(two, [](Claim& c) { c.planes.pop_back(); })},
        {"a second plane beyond the memory",
         with(two, [](Claim& c) { c.planes[1].offset = kSize - kWidth; })},
        {"a second plane in a page", with(two,
                                          [=](Claim& c) {
                                              c.planes[1].fd = page;
                                              c.planes[1].offset = 0;
                                          })},
        {"a second plane with short rows", with(two, [](Claim& c) { c.planes[1].stride = 1; })},
        {"another modifier", with(one, [](Claim& c) { c.planes[0].modifier = kOdd; })},
        {"two modifiers", with(two, [](Claim& c) { c.planes[1].modifier = kOdd; })},
        {"an unknown format", with(one, [](Claim& c) { c.format = 0x12345678; })},
        {"upside down", with(one, [](Claim& c) { c.flags = 1; })},
        {"unknown flags", with(one, [](Claim& c) { c.flags = 0x80; })},
    };
}

/** Reads all of the next few frames, whatever they show. */
void read_frames(CapturePipeline& pipeline, int count) {
    for (int frame = 0; frame < count; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        GstMapInfo map;
        REQUIRE(gst_buffer_map(buffer.get(), &map, GST_MAP_READ));
        uint32_t sum = 0;
        for (size_t i = 0; i < map.size; i += 64) {
            sum += map.data[i];
        }
        gst_buffer_unmap(buffer.get(), &map);
        CHECK(sum != 1);
    }
}

/** The game is shown again, in its own memory and whole, and has drawn on. */
uint32_t check_unharmed(CapturePipeline& pipeline, const CaptureSession& session, uint32_t before) {
    for (int frame = 0; frame < 200; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        if (!session.inodes().contains(inode_of(buffer.get()))) {
            continue;
        }
        const auto check = check_mapped(buffer.get());
        REQUIRE(check.intact());
        if (*check.number > before) {
            return *check.number;
        }
    }
    FAIL("the game is not shown any more");
    return 0;
}

/** What is odd but true passes like any other picture. */
void check_odd_but_true(const CaptureSession& session, CapturePipeline& pipeline,
                        const Udmabuf& device) {
    const DmaBuf memory = must(device.allocate(4096 + size_t{1536} * kHeight));
    ClaimedBuffer odd = honest(memory.fd());
    odd.planes[0].offset = 4096;
    odd.planes[0].stride = 1536;
    HostileClient client(session.game_display());
    client.show(odd);
    bool seen = false;
    for (int frame = 0; frame < 100 && !seen; ++frame) {
        CHECK(client.protocol_error().empty());
        client.show_again();
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        seen = inode_of(buffer.get()) == memory.inode();
    }
    CHECK(seen);
}

/** The memory behind a DMA-BUF can't be taken away while it is shown. */
void check_shrinking(const CaptureSession& session, CapturePipeline& pipeline,
                     const Udmabuf& device) {
    const UniqueFd file(::memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(file.get(), kSize) == 0);
    // The kernel makes no DMA-BUF of a file that could shrink.
    CHECK_FALSE(device.wrap(file.get(), 0, kSize));
    REQUIRE(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    const DmaBuf memory = must(device.wrap(file.get(), 0, kSize));
    HostileClient client(session.game_display());
    client.show(honest(memory.fd()));
    for (int round = 0; round < 5; ++round) {
        CHECK(client.protocol_error().empty());
        CHECK(::ftruncate(file.get(), 0) != 0);
        CHECK(errno == EPERM);
        client.show_again();
        read_frames(pipeline, 1);
    }
}

}  // namespace

TEST_CASE("clients that lie about their DMA-BUFs harm nobody but themselves") {
    const CaptureSession session({"--buffers", "8", "--rate", "60", "--memory", "udmabuf"});
    const Udmabuf device = must(Udmabuf::open());
    const DmaBuf memory = must(device.allocate(kSize));
    const DmaBuf page = must(device.allocate(4096));
    const UniqueFd memfd(::memfd_create("hostile", MFD_CLOEXEC));
    REQUIRE(::ftruncate(memfd.get(), kSize) == 0);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const UniqueFd pipe(ends[0]);
    const UniqueFd other_end(ends[1]);

    CapturePipeline pipeline(session.name(), kDmabuf, false);
    uint32_t number = check_unharmed(pipeline, session, 0);
    for (const Lie& lie : lies(memory.fd(), page.fd(), memfd.get(), pipe.get())) {
        INFO(lie.what);
        {
            HostileClient client(session.game_display());
            client.show(lie.claimed);
            const std::string error = client.protocol_error();
            INFO("error: " << error);
            CHECK(error.starts_with("zwp_linux_buffer_params_v1: "));
            read_frames(pipeline, 1);
        }
        number = check_unharmed(pipeline, session, number);
    }
    {
        HostileClient client(session.game_display());
        ClaimedBuffer lie = honest(memory.fd());
        lie.planes[0].stride = 4;
        CHECK(client.is_refused(lie));
        CHECK_FALSE(client.is_refused(honest(memory.fd())));
        CHECK(client.protocol_error().empty());
    }
    check_odd_but_true(session, pipeline, device);
    check_shrinking(session, pipeline, device);
    check_unharmed(pipeline, session, number);
    pipeline.stop();
    CHECK(session.all_in_use(monotonic_ns()));
}
