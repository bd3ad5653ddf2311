// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <optional>

#include "capture_client.hpp"

namespace stepscope {

/** Counters since start; written by the streaming thread, read by any. */
struct CaptureStats {
    std::atomic<uint64_t> frames = 0;  // buffers pushed, repeats included
    std::atomic<uint64_t> passed_through = 0;
    std::atomic<uint64_t> composed = 0;
    std::atomic<uint64_t> copied = 0;
    std::atomic<uint64_t> dropped = 0;
    std::atomic<uint64_t> repeated = 0;
    std::atomic<uint64_t> imports = 0;          // memories that pictures came in
    std::atomic<uint64_t> fences = 0;           // frames that might not be read yet
    std::atomic<uint64_t> fences_imported = 0;  // put into the DMA-BUF
    std::atomic<uint64_t> fences_waited = 0;    // waited for with the CPU
    std::atomic<uint64_t> steps = 0;            // taken, in lock-step
    std::atomic<uint64_t> no_frame_steps = 0;
    std::atomic<uint32_t> gate = 0;  // a StepGate
};

/** A frame with references to its memory; releases it when destroyed. */
struct CapturedFrame {
    FrameInfo info;
    std::shared_ptr<SlotMemory> slot;  // null with a buffer
    /** Downstream's own, with the picture in it; null: memory of ours. Nobody else has it. */
    GstPtr<GstBuffer> buffer;
    PictureFormat buffer_format;
    PlaneLayout buffer_layout;
    // Before the buffer goes, as a pool throws away whose memory somebody else has.
    std::vector<GstPtr<GstMemory>> memories;
    GstPtr<GstStepscopeFence> fence;  // null for memory that needs none

    const PictureFormat& format() const { return buffer ? buffer_format : slot->format(); }
    const PlaneLayout& layout() const { return buffer ? buffer_layout : slot->layout(); }
    bool is_dmabuf() const { return buffer || slot->format().memory == MemoryKind::dmabuf; }
};

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

    /** The frame that has waited longest. */
    std::optional<CapturedFrame> take_oldest();
    /** The newest frame; those before it are released and count as dropped. */
    std::optional<CapturedFrame> take_newest();
    /** Drops all frames but the newest. */
    void keep_newest();
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
    std::deque<CapturedFrame> frames_;
};

}  // namespace stepscope
