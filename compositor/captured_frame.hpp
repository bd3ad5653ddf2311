// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <optional>

#include "base/sync_file.hpp"
#include "frame_memory.hpp"
#include "stepscope-control-v1-server-protocol.h"
#include "wlr.hpp"

namespace stepscope {

using FramePath = stepscope_capture_v1_path;
using FrameReason = stepscope_capture_v1_reason;

/** Where in virtual time a picture belongs. */
struct StepTime {
    uint64_t step = 0;  // from 1
    int64_t now_ns = 0;
};

/** One commit to the capture output. Borrowed: valid during the call that it is passed to. */
struct CapturedFrame {
    wlr_buffer* buffer = nullptr;
    FrameMemory memory;
    FramePath path = STEPSCOPE_CAPTURE_V1_PATH_COMPOSED;
    FrameReason reason = STEPSCOPE_CAPTURE_V1_REASON_OTHER;
    /** Number of the picture; stays when the same picture is committed again. */
    uint64_t commit = 0;
    /** CLOCK_MONOTONIC. */
    int64_t presented_ns = 0;
    /** In lock-step only. */
    std::optional<StepTime> step;
    /** What signals when the memory may be read; null if it may be. */
    const SyncFile* acquire = nullptr;
    /** What changed since the commit before, in pixels; empty if it is the same picture. */
    const pixman_region32_t* damage = nullptr;
};

/** Gets every commit of the output, on the compositor's thread. */
class FrameSink {
public:
    virtual ~FrameSink() = default;
    virtual void handle_frame(const CapturedFrame& frame) = 0;
    /** A picture was lost because consumers hold all memory that could take it. */
    virtual void handle_lost_frame() = 0;
};

}  // namespace stepscope
