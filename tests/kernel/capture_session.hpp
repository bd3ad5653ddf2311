// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>
#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "gst/gst_ptr.hpp"
#include "tests/game/frame_code.hpp"

namespace stepscope::testing {

/** Pictures of the game are of this size. */
inline constexpr int kWidth = 320;
inline constexpr int kHeight = 240;

/** A compositor on vgem with a fence game in it; ended with this object. */
class CaptureSession {
public:
    /** Options of stepscope-fencegame, beside its report. */
    explicit CaptureSession(const std::vector<std::string>& game);
    CaptureSession(const CaptureSession&) = delete;
    CaptureSession& operator=(const CaptureSession&) = delete;
    ~CaptureSession();

    const std::string& name() const { return name_; }
    /** All that the game has reported so far. */
    std::vector<nlohmann::json> report() const;
    /** Waits until the report has what is asked for; false after a minute. */
    bool wait_for(const std::function<bool(const std::vector<nlohmann::json>&)>& found) const;
    std::set<ino_t> inodes() const;

private:
    std::string directory_;
    std::string name_;
    pid_t pid_ = -1;
};

/** wlscreencopysrc ! CAPS ! appsink. */
class CapturePipeline {
public:
    /** `knows_fences`: the sink answers the allocation query with the fence meta. */
    CapturePipeline(const std::string& session, const std::string& caps, bool knows_fences);
    CapturePipeline(const CapturePipeline&) = delete;
    CapturePipeline& operator=(const CapturePipeline&) = delete;
    ~CapturePipeline() { stop(); }

    /** The next buffer; null, with what the bus says in error(), after a minute. */
    GstPtr<GstBuffer> pull();
    void stop();
    std::string error() const;
    uint64_t stat(const char* name) const;

private:
    GstPtr<GstElement> pipeline_;
    GstPtr<GstElement> source_;
    GstPtr<GstElement> sink_;
};

/** What a mapping by GStreamer shows. */
frame_code::FrameCheck check_mapped(GstBuffer* buffer);
/** What the memory holds right now, for who does not wait for anything. */
frame_code::FrameCheck check_raw(GstBuffer* buffer);
ino_t inode_of(GstBuffer* buffer);

}  // namespace stepscope::testing
