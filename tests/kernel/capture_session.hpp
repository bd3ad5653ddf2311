// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "gst/gst_ptr.hpp"
#include "tests/game/frame_code.hpp"

namespace stepscope::testing {

/** Pictures of the game are of this size, where a test does not choose another width (-W). */
inline constexpr int kWidth = 320;
inline constexpr int kHeight = 240;

inline constexpr const char* kDmabuf = "video/x-raw(memory:DMABuf)";
inline constexpr const char* kPlain = "video/x-raw";

/** CLOCK_MONOTONIC, as in the game's report. */
int64_t monotonic_ns();

/** How much of something a test does: a variable of the environment, else the default. */
unsigned amount(const char* variable, unsigned usual);

/** A compositor with a game in it; ended with this object. */
class SessionProcess {
public:
    /** `options` of stepscope; `game`: program and arguments, where "%D" at the start is
     * directory(). It runs when this returns. With `log` what both write to stderr is kept. */
    SessionProcess(const std::vector<std::string>& options, const std::vector<std::string>& game,
                   bool log = false);
    SessionProcess(const SessionProcess&) = delete;
    SessionProcess& operator=(const SessionProcess&) = delete;
    ~SessionProcess();

    const std::string& name() const { return name_; }
    /** For files of the test; ends with the session. */
    const std::string& directory() const { return directory_; }
    std::string log() const;
    /** The Wayland socket that the game is given. */
    std::string game_display() const;

private:
    std::string directory_;
    std::string name_;
    pid_t pid_ = -1;
};

/** The render node that sessions compose with: STEPSCOPE_TEST_RENDER_NODE, else that of the vgem
 * device, which there is in the VM. */
std::string session_node();

/** A compositor on vgem with a fence game in it. */
class CaptureSession {
public:
    /** Options of stepscope-fencegame, beside its report. The game has shown each of its buffers
     * when this returns: before, the compositor can't know how many it may lend. `options`: more of
     * stepscope's. */
    explicit CaptureSession(const std::vector<std::string>& game,
                            const std::vector<std::string>& options = {});

    const std::string& name() const { return process_.name(); }
    /** For files of the test; ends with the session. */
    const std::string& directory() const { return process_.directory(); }
    /** All that the game has reported so far. */
    const std::vector<nlohmann::json>& report() const;
    /** Waits until the report has what is asked for; false after a minute. */
    bool wait_for(const std::function<bool(const std::vector<nlohmann::json>&)>& found) const;
    /** Those of the game's newest buffers. */
    std::set<ino_t> inodes() const;
    /** Each of the game's buffers but `without` was shown again after `since`: none is lost. */
    bool all_in_use(int64_t since, ino_t without = 0) const;
    std::string game_display() const { return process_.game_display(); }

private:
    SessionProcess process_;
    mutable std::vector<nlohmann::json> report_;
    mutable std::streamoff report_read_ = 0;
};

/** When a consumer had a buffer. */
struct Holding {
    ino_t inode = 0;
    int64_t from = 0;
    int64_t to = 0;
};

/** How many of them the game took back, or was given back, too early. */
size_t taken_back_early(const CaptureSession& session, const std::vector<Holding>& holdings);

/** wlscreencopysrc ! CAPS ! appsink. */
class CapturePipeline {
public:
    /** `middle`: caps, and elements after them. `knows_fences`: the sink answers the allocation
     * query with the fence meta. */
    CapturePipeline(const std::string& session, const std::string& middle, bool knows_fences,
                    const std::string& properties = "");
    /** Another pipeline, with an element "src" and an appsink "sink". */
    explicit CapturePipeline(const std::string& text);
    CapturePipeline(const CapturePipeline&) = delete;
    CapturePipeline& operator=(const CapturePipeline&) = delete;
    ~CapturePipeline() { stop(); }

    /** The next buffer; null, with what the bus says in error(), after a minute. */
    GstPtr<GstBuffer> pull(const char* sink = "sink");
    /** What the sink was given. */
    GstPtr<GstCaps> caps() const;
    void stop();
    GstElement* element() const { return pipeline_.get(); }
    GstElement* source() const { return source_.get(); }
    std::string error() const;
    uint64_t stat(const char* name) const;

private:
    void parse(const std::string& text);

    GstPtr<GstElement> pipeline_;
    GstPtr<GstElement> source_;
    GstPtr<GstElement> sink_;
};

/** What a mapping by GStreamer shows. */
frame_code::FrameCheck check_mapped(GstBuffer* buffer,
                                    frame_code::ChannelOrder order = frame_code::kBgrx);
/** What the memory holds right now, for who does not wait for anything. */
frame_code::FrameCheck check_raw(GstBuffer* buffer);
ino_t inode_of(GstBuffer* buffer);

}  // namespace stepscope::testing
