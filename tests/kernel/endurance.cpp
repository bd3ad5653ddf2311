// SPDX-License-Identifier: LGPL-2.1-or-later
// Many frames: each is in the game's own memory, which is imported once; none changes while it is
// held. STEPSCOPE_KERNEL_FRAMES and STEPSCOPE_KERNEL_SECONDS say how many.
#include <deque>

#include "capture_session.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

void check_identity(const CaptureSession& session) {
    const unsigned frames = amount("STEPSCOPE_KERNEL_FRAMES", 300);
    const std::set<ino_t> inodes = session.inodes();
    CapturePipeline pipeline(session.name(), kDmabuf, false);
    std::set<ino_t> seen;
    uint32_t last = 0;
    const int64_t began = monotonic_ns();
    for (unsigned frame = 0; frame < frames; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        const ino_t inode = inode_of(buffer.get());
        REQUIRE(inodes.contains(inode));
        seen.insert(inode);
        const auto check = check_mapped(buffer.get());
        REQUIRE(check.intact());
        REQUIRE(*check.number > last);
        last = *check.number;
    }
    WARN(frames << " frames in " << (monotonic_ns() - began) / 1'000'000'000 << " s, in "
                << seen.size() << " buffers of the game's " << inodes.size() << ", imported "
                << pipeline.stat("imports") << " times");
    CHECK(seen == inodes);
    CHECK(pipeline.stat("passed-through") == pipeline.stat("frames"));
    CHECK(pipeline.stat("imports") <= inodes.size());
}

/** A frame that a consumer has, with what it looked like when it came. */
struct Held {
    GstPtr<GstBuffer> buffer;
    uint32_t number;
    Holding holding;
};

void check_holding(const CaptureSession& session) {
    const int64_t end =
        monotonic_ns() + int64_t{1'000'000'000} * amount("STEPSCOPE_KERNEL_SECONDS", 3);
    std::vector<Holding> over;
    std::deque<Held> held;
    unsigned frames = 0;
    unsigned changed = 0;
    {
        CapturePipeline pipeline(session.name(), kDmabuf, false);
        while (monotonic_ns() < end) {
            GstPtr<GstBuffer> buffer = pipeline.pull();
            REQUIRE(buffer);
            const int64_t from = monotonic_ns();
            const auto check = check_mapped(buffer.get());
            REQUIRE(check.intact());
            const Holding holding{inode_of(buffer.get()), from, 0};
            held.push_back({std::move(buffer), *check.number, holding});
            ++frames;
            if (held.size() > 3) {
                Held oldest = std::move(held.front());
                held.pop_front();
                const auto now = check_raw(oldest.buffer.get());
                changed += now.intact() && now.number == oldest.number ? 0 : 1;
                oldest.holding.to = monotonic_ns();
                over.push_back(oldest.holding);
            }
        }
        CHECK(pipeline.stat("copied") == 0);
    }
    WARN(frames << " frames, each held until three newer ones had come: " << changed << " changed");
    CHECK(frames > 0);
    CHECK(changed == 0);
    CHECK(taken_back_early(session, over) == 0);
}

void check_endurance(const std::vector<std::string>& memory) {
    std::vector<std::string> options{"--buffers", "8", "--rate", "0"};
    options.insert(options.end(), memory.begin(), memory.end());
    const CaptureSession session(options);
    check_identity(session);
    check_holding(session);
}

}  // namespace

TEST_CASE("many frames with implicit sync are the game's own and do not change") {
    check_endurance({"--memory", "udmabuf"});
}

TEST_CASE("many frames with explicit sync are the game's own and do not change") {
    check_endurance({"--memory", "dma-heap", "--explicit-sync"});
}
