// SPDX-License-Identifier: LGPL-2.1-or-later
// A game that reads linux-dmabuf feedback allocates what the consumer of its pictures reads.
#include <drm_fourcc.h>
#include <gst/stepscope/stepscope.h>
#include <sys/stat.h>

#include "capture_session.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

const nlohmann::json* last_event(const CaptureSession& session, const char* name) {
    const nlohmann::json* found = nullptr;
    for (const nlohmann::json& line : session.report()) {
        found = line.at("event") == name ? &line : found;
    }
    return found;
}

/** The game has made buffers of this format after it was told to. */
bool follows(const CaptureSession& session, uint32_t format) {
    return session.wait_for([&](const auto&) {
        const nlohmann::json* buffers = last_event(session, "buffers");
        return buffers != nullptr && buffers->at("format") == format;
    });
}

}  // namespace

TEST_CASE("a game allocates what its consumer reads") {
    const CaptureSession session(
        {"--buffers", "8", "--rate", "30", "--memory", "udmabuf", "--feedback"});
    struct stat node{};
    REQUIRE(::stat(session_node().c_str(), &node) == 0);
    {
        CapturePipeline pipeline(session.name(),
                                 "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=XB24", false,
                                 "max-buffers=3");
        REQUIRE(follows(session, DRM_FORMAT_XBGR8888));
        const nlohmann::json feedback = *last_event(session, "feedback");
        CHECK(feedback.at("main_device") == node.st_rdev);
        REQUIRE(feedback.at("tranches").size() > 1);
        const nlohmann::json& first = feedback.at("tranches").front();
        CHECK(first.at("scanout") == true);
        CHECK(first.at("device") == node.st_rdev);
        REQUIRE_FALSE(first.at("formats").empty());
        for (const nlohmann::json& format : first.at("formats")) {
            // The alpha of a picture that is captured means nothing.
            CHECK((format.at(0) == DRM_FORMAT_XBGR8888 || format.at(0) == DRM_FORMAT_ABGR8888));
            CHECK(format.at(1) == DRM_FORMAT_MOD_LINEAR);
        }
        const std::set<ino_t> inodes = session.inodes();
        // Before, the pictures were drawn anew for this consumer; and new buffers come one by one.
        int passed = 0;
        for (int frame = 0; frame < 300 && passed < 20; ++frame) {
            const GstPtr<GstBuffer> buffer = pipeline.pull();
            REQUIRE(buffer);
            REQUIRE(check_mapped(buffer.get(), frame_code::kRgbx).intact());
            const auto* meta = gst_buffer_get_stepscope_frame_meta(buffer.get());
            const bool own = inodes.contains(inode_of(buffer.get()));
            CHECK(own == (meta->path == GST_STEPSCOPE_FRAME_PATH_PASSED_THROUGH));
            passed = own ? passed + 1 : 0;
        }
        CHECK(passed == 20);
    }
    // Another consumer, another wish.
    CapturePipeline pipeline(session.name(),
                             "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=XR24", false,
                             "max-buffers=3");
    REQUIRE(follows(session, DRM_FORMAT_XRGB8888));
    const std::set<ino_t> inodes = session.inodes();
    bool passed = false;
    for (int frame = 0; frame < 300 && !passed; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        REQUIRE(check_mapped(buffer.get()).intact());
        passed = inodes.contains(inode_of(buffer.get()));
    }
    CHECK(passed);
}
