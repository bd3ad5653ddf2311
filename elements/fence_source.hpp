// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/base/gstbasesrc.h>
#include <gst/stepscope/stepscope.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "frame_buffer.hpp"
#include "frame_client.hpp"
#include "input_action.hpp"

namespace stepscope {

struct FenceSourceSettings {
    std::string socket_path;
    int fd = -1;
    uint32_t max_buffers = 4;
    bool steps = false;
    uint32_t timeout_ms = 0;  // until there must be a socket
};

struct FenceSourceStats {
    std::atomic<uint64_t> frames = 0;
    std::atomic<uint64_t> copied = 0;
    std::atomic<uint64_t> dropped = 0;
    std::atomic<uint64_t> repeated = 0;
    std::atomic<uint64_t> imports = 0;
    std::atomic<uint64_t> steps = 0;
};

/**
 * What fencesrc does between start and stop: frames of the socket become buffers around the same
 * memory. create() and negotiate() are for the streaming thread, the rest for any.
 */
class FenceSource {
public:
    static Result<std::unique_ptr<FenceSource>> connect(GstBaseSrc* element,
                                                        const FenceSourceSettings& settings,
                                                        FenceSourceStats& stats);
    ~FenceSource();
    FenceSource(const FenceSource&) = delete;
    FenceSource& operator=(const FenceSource&) = delete;

    GstFlowReturn create(GstBuffer** buffer);
    bool negotiate();
    void set_peer(bool reads_video_meta, bool knows_fences);
    void set_flushing(bool flushing);
    GstPtr<GstCaps> caps() const;
    bool live() const;
    /** Sends input to the producer. */
    void inject(const InputActions& actions);

private:
    class Frames;

    FenceSource(GstBaseSrc* element, std::shared_ptr<FrameClient> client,
                const FenceSourceSettings& settings, FenceSourceStats& stats);

    GstElement* element() const { return GST_ELEMENT(element_); }
    Result<GstFlowReturn> handle(FrameEvent& event, GstBuffer** buffer);
    Result<void> add_slot(const wire::Slot& slot, std::vector<UniqueFd> fds);
    Result<GstFlowReturn> make_buffer(const wire::Frame& frame, UniqueFd fence, GstBuffer** buffer);
    Result<void> honour_fence(GstStepscopeFence* fence, const CapturedFrame& frame);
    void stamp(GstBuffer* buffer, const wire::Frame& frame);

    GstBaseSrc* const element_;  // borrowed: it owns this
    const std::shared_ptr<FrameClient> client_;
    const std::shared_ptr<Frames> frames_;
    const FenceSourceSettings settings_;
    FenceSourceStats& stats_;
    std::atomic<bool> flushing_ = false;

    mutable std::mutex mutex_;  // guards the next one
    std::optional<wire::Stream> stream_;

    // Of the streaming thread:
    std::map<uint32_t, std::shared_ptr<SlotMemory>> slots_;
    bool agreed_ = false;
    GstPtr<GstCaps> agreed_caps_;
    std::optional<GstVideoInfo> info_;  // of plain memory
    bool peer_reads_video_meta_ = false;
    bool peer_knows_fences_ = false;
    std::unique_ptr<FrameCopier> copier_;
    bool stepping_ = false;
    bool begun_ = false;
    uint64_t sequence_ = 0;
    uint64_t last_commit_ = 0;  // number of the picture that came last; 0: unknown
};

}  // namespace stepscope
