// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-client.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "damage.hpp"
#include "display_connection.hpp"

namespace stepscope {

/** What buffers a compositor copies an output into. */
struct CaptureConstraints {
    uint32_t width = 0;
    uint32_t height = 0;
    std::vector<uint32_t> shm_formats;                          // DRM_FORMAT_*, alpha and all
    uint32_t shm_stride = 0;                                    // bytes; 0: any
    std::vector<std::pair<uint32_t, uint64_t>> dmabuf_formats;  // with modifiers
    std::optional<uint64_t> device;  // dev_t of the DRM node that DMA-BUFs come from

    bool operator==(const CaptureConstraints&) const = default;
};

struct CopiedPicture {
    uint64_t time_ns = 0;  // CLOCK_MONOTONIC, of the presentation; 0: unknown
    Damage damage;         // since the copy before; none: anything
    bool upside_down = false;
};

/** What a capture tells its user, on the thread that dispatches. */
class OutputCaptureHandler {
public:
    virtual ~OutputCaptureHandler() = default;
    /** At the start and when they change. */
    virtual void handle_constraints(const CaptureConstraints& constraints) = 0;
    /** The copy that was asked for is in its buffer, or failed. */
    virtual void handle_copied(CopiedPicture picture) = 0;
    virtual void handle_failed() = 0;
    /** There will be no more copies: the output is gone or must not be captured any more. */
    virtual void handle_stopped() = 0;
};

/** Copies of one output's pictures, by one of the protocols for that. */
class OutputCapture {
public:
    OutputCapture() = default;
    OutputCapture(const OutputCapture&) = delete;
    OutputCapture& operator=(const OutputCapture&) = delete;
    virtual ~OutputCapture() = default;

    /** True if a copy may be asked for: the constraints are known and none is under way. */
    virtual bool idle() const = 0;
    /** Copies the next picture that differs from the one before into the buffer. Only if idle(). */
    virtual void copy_into(wl_buffer* buffer, uint32_t width, uint32_t height) = 0;
    /** After a failure: makes idle() possible again. */
    virtual void retry() {}
};

/** By the best protocol that the compositor has. Display, output and handler must outlive it. */
std::unique_ptr<OutputCapture> make_output_capture(const DisplayConnection& display,
                                                   const DisplayOutput& output, bool cursor,
                                                   OutputCaptureHandler& handler);

std::unique_ptr<OutputCapture> make_ext_capture(const DisplayConnection& display,
                                                const DisplayOutput& output, bool cursor,
                                                OutputCaptureHandler& handler);
std::unique_ptr<OutputCapture> make_wlr_capture(const DisplayConnection& display,
                                                const DisplayOutput& output, bool cursor,
                                                OutputCaptureHandler& handler);

/** Nanoseconds of a time as the protocols send it; 0 where that can't be. */
uint64_t picture_time(uint32_t seconds_high, uint32_t seconds_low, uint32_t nanoseconds);

/** The DRM format of a format of wl_shm. */
uint32_t drm_format_of_shm(uint32_t format);

}  // namespace stepscope
