// SPDX-License-Identifier: LGPL-2.1-or-later
// Pictures whose memory GBM made, as Mesa makes it for a game, with their rows where GBM put them.
#include <gst/video/video.h>

#include "capture_session.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

/** No driver begins rows where 300 pixels of four bytes end. */
constexpr int kNarrow = 300;

size_t stride_of(const CaptureSession& session) {
    for (const nlohmann::json& line : session.report()) {
        if (line.at("event") == "buffers") {
            return line.at("stride");
        }
    }
    FAIL("the game has made no buffers");
    return 0;
}

void check_gbm(const std::vector<std::string>& options) {
    std::vector<std::string> game{
        "--memory",  "gbm", "--size", std::to_string(kNarrow) + "x" + std::to_string(kHeight),
        "--buffers", "6",   "--rate", "20",
        "--late",    "20"};
    game.insert(game.end(), options.begin(), options.end());
    const CaptureSession session(game, {"-W", std::to_string(kNarrow)});
    const size_t stride = stride_of(session);
    CHECK(stride > size_t{kNarrow} * 4);
    const std::set<ino_t> inodes = session.inodes();
    CHECK(inodes.size() == 6);
    CapturePipeline pipeline(session.name(), kDmabuf, false);
    uint32_t last = 0;
    for (int frame = 0; frame < 30; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        REQUIRE(inodes.contains(inode_of(buffer.get())));
        const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer.get());
        REQUIRE(meta != nullptr);
        REQUIRE(meta->width == kNarrow);
        REQUIRE(static_cast<size_t>(meta->stride[0]) == stride);
        const frame_code::FrameCheck check = check_mapped(buffer.get());
        REQUIRE(check.intact());
        const uint32_t number = check.number.value_or(0);
        REQUIRE(number > last);  // they begin with 1
        last = number;
    }
    CHECK(pipeline.stat("passed-through") == pipeline.stat("frames"));
    CHECK(pipeline.stat("imports") <= inodes.size());
    CHECK(pipeline.stat("fences-waited") == 0);
}

}  // namespace

TEST_CASE("pictures by GBM on the first device that can") {
    check_gbm({});
}

TEST_CASE("pictures by GBM on virtio-gpu") {
    const std::string node = primary_node("virtio_gpu");
    if (node.empty()) {
        missing("there is no primary node of virtio-gpu");
    }
    check_gbm({"--gbm-device", node});
}

TEST_CASE("pictures by GBM, with timelines") {
    check_gbm({"--explicit-sync"});
}
