// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <optional>

#include "frame_queue.hpp"

namespace stepscope {

/**
 * The frames of one capture, as GStreamer memory. Used by one thread but for set_cursor().
 * Destroying it ends the capture; memory that consumers still hold keeps the connection open.
 */
class CaptureStream final : public CaptureHandler {
public:
    /** `credits` frames may be in flight. Sends nothing before start(). */
    CaptureStream(std::shared_ptr<ControlClient> control, CursorMode cursor, uint32_t credits,
                  CaptureStats& stats);
    ~CaptureStream() override;

    void start();
    void set_cursor(CursorMode mode);
    void set_formats(const std::vector<DrmFormat>& formats) { capture_->set_formats(formats); }
    /** One more frame in flight, from now on. */
    void add_credit();
    /** False while consumers hold all frames that may be in flight. */
    bool has_credit() const { return capture_->credits() > 0; }
    /** A frame that a consumer lets go ends the wait for events. */
    void wake_on_release() { capture_->wake_on_release(); }

    // As FrameQueue's.
    std::optional<CapturedFrame> take_oldest() { return frames_.take_oldest(); }
    std::optional<CapturedFrame> take_newest() { return frames_.take_newest(); }
    void keep_newest() { frames_.keep_newest(); }
    bool empty() const { return frames_.empty(); }

private:
    Result<void> handle_slot(uint32_t slot, const PictureFormat& format,
                             std::vector<SlotPlane> planes) override;
    void handle_slot_gone(uint32_t slot) override;
    Result<void> handle_frame(const FrameInfo& frame, GstPtr<GstStepscopeFence> fence) override;

    const std::shared_ptr<ControlClient> control_;
    const std::shared_ptr<CaptureClient> capture_;
    const uint32_t credits_;
    CaptureStats& stats_;
    std::map<uint32_t, std::shared_ptr<SlotMemory>> slots_;
    FrameQueue frames_{stats_};
};

}  // namespace stepscope
