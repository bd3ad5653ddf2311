// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

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

/** Frames that came and were not taken yet. Of one thread. */
class FrameQueue {
public:
    /** Dropped frames are counted in `stats`, which must outlive the queue. */
    explicit FrameQueue(CaptureStats& stats) : stats_(stats) {}

    void push(CapturedFrame frame) { frames_.push_back(std::move(frame)); }
    size_t size() const { return frames_.size(); }
    bool empty() const { return frames_.empty(); }
    void clear() { frames_.clear(); }

    /** The frame that has waited longest. */
    std::optional<CapturedFrame> take_oldest() {
        if (frames_.empty()) {
            return std::nullopt;
        }
        CapturedFrame frame = std::move(frames_.front());
        frames_.pop_front();
        return frame;
    }
    /** The newest frame; those before it are released and count as dropped. */
    std::optional<CapturedFrame> take_newest() {
        keep_newest();
        return take_oldest();
    }
    /** Drops all frames but the newest. */
    void keep_newest() {
        while (frames_.size() > 1) {
            drop_oldest();
        }
    }
    /** Its damage is the next one's, too. There must be two frames. */
    void drop_oldest() {
        absorb_damage(frames_[1].info, frames_[0].info);
        frames_.pop_front();
        ++stats_.dropped;
    }

private:
    CaptureStats& stats_;
    std::deque<CapturedFrame> frames_;
};

}  // namespace stepscope
