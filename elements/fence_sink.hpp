// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/base/gstbasesink.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "shared_slots.hpp"

namespace stepscope {

struct FenceSinkSettings {
    std::string socket_path;
    int fd = -1;
    uint32_t max_consumers = 16;
    wire::Mode wait = wire::Mode::live;
    uint32_t consumer_timeout_ms = 10'000;
    bool require_zero_copy = false;
};

/** Counters since the element's start; written by the streaming thread, read by any. */
struct FenceSinkStats {
    std::atomic<uint64_t> frames = 0;
    std::atomic<uint64_t> copied = 0;
    std::atomic<uint64_t> waited = 0;  // for an acquire fence, as a consumer knows none
    std::atomic<uint64_t> slots = 0;
};

/**
 * What fencesink does between start and stop: buffers become frames of the socket, and what
 * consumers ask for goes upstream.
 */
class FenceSink final : public FrameServerHandler {
public:
    static Result<std::unique_ptr<FenceSink>> create(GstBaseSink* element,
                                                     const FenceSinkSettings& settings,
                                                     FenceSinkStats& stats);
    ~FenceSink() override;

    /** The streaming thread. Posts the error where it returns one. */
    GstFlowReturn render(GstBuffer* buffer);
    bool set_caps(GstCaps* caps);

    /** Any thread. */
    void interrupt(bool interrupted) { server_->interrupt(interrupted); }
    /** How the stream is going to end, as far as the source said. */
    void note_end(const GstStructure* structure);
    void end_of_stream();
    /** After a flush, or PAUSED: if the stream had ended, it begins again, for those who connect
     *  from here on. */
    void begin_again();
    FrameServerStats consumers() const { return server_->stats(); }
    void disconnect(uint64_t consumer) {
        server_->disconnect(consumer, wire::code_internal, "the application ended the connection");
    }

private:
    FenceSink(GstBaseSink* element, const FenceSinkSettings& settings, FenceSinkStats& stats);

    void handle_connected(const ConsumerInfo& consumer) override;
    void handle_disconnected(const ConsumerInfo& consumer, const std::string& reason) override;
    void handle_turned_away(const std::string& reason) override;
    Result<void> handle_input(const wire::Input& input) override;

    GstElement* element() const { return GST_ELEMENT(element_); }
    Result<GstPtr<GstBuffer>> share(GstBuffer* buffer);
    Result<GstPtr<GstBuffer>> copy(GstBuffer* buffer, const GstVideoInfo& info);
    Result<void> prepare_stream(GstBuffer* buffer);
    UniqueFd pending_fence(GstBuffer* buffer, uint32_t slot);
    wire::Frame describe(GstBuffer* buffer) const;
    /** Sends `shared`, which is `original` or a copy of it. */
    GstFlowReturn deliver(GstBuffer* original, GstBuffer* shared);
    GstFlowReturn wait_for_step();

    GstBaseSink* const element_;  // borrowed: it owns this
    const FenceSinkSettings settings_;
    FenceSinkStats& stats_;
    std::unique_ptr<FrameServer> server_;
    std::mutex end_mutex_;
    std::optional<wire::End> noted_end_;

    // Of the streaming thread:
    std::unique_ptr<SharedSlots> slots_;
    GstPtr<GstCaps> caps_;
    std::optional<GstVideoInfo> info_;  // of plain memory
    std::optional<wire::Stream> stream_;
    GstPtr<GstBufferPool> pool_;  // for copies
    uint64_t last_commit_ = 0;    // number of the picture that was sent last; 0: unknown
};

}  // namespace stepscope
