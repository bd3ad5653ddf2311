// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/base/gstbasesrc.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "frame_buffer.hpp"
#include "frame_timing.hpp"
#include "picture_source.hpp"
#include "session_source.hpp"
#include "step_client.hpp"
#include "step_timeline.hpp"

namespace stepscope {

enum class ZeroCopy { require, prefer, off };

/** What to push for steps that showed no new picture. */
enum class OnNoFrame { repeat, skip, error };

struct StepSettings {
    uint32_t frames_per_step = 1;
    uint32_t timeout_ms = 10'000;  // of wall time for each step; 0: none
    OnNoFrame on_no_frame = OnNoFrame::repeat;
};

struct CaptureSettings {
    CursorMode cursor = CursorMode::hidden;
    ZeroCopy zero_copy = ZeroCopy::prefer;
    uint32_t max_buffers = 4;
    // Another compositor, instead of a session; empty strings are unset.
    std::string display;
    std::string output;
    std::string region;
    std::optional<StepSettings> steps;  // lock-step
};

struct CaptureLatency {
    GstClockTime minimum = 0;
    GstClockTime maximum = GST_CLOCK_TIME_NONE;
};

void reset(CaptureStats& stats);

/**
 * What wlscreencopysrc does between start and stop: it pulls frames from a session, or steps it,
 * and makes the element's buffers of them.
 *
 * create(), negotiate(), set_caps() and set_peer_reads_…() are for the streaming thread;
 * the other methods for any, as long as the object exists.
 */
class ScreencopyCapture {
public:
    /** Connects to the session. `element` and `stats` must outlive the capture. */
    static Result<std::unique_ptr<ScreencopyCapture>> connect(GstBaseSrc* element,
                                                              const std::string& session,
                                                              const CaptureSettings& settings,
                                                              CaptureStats& stats);
    ~ScreencopyCapture();
    ScreencopyCapture(const ScreencopyCapture&) = delete;
    ScreencopyCapture& operator=(const ScreencopyCapture&) = delete;

    /** Waits for the next buffer; posts the error where it returns one. */
    GstFlowReturn create(GstBuffer** buffer);
    bool negotiate();
    bool set_caps(const GstCaps* caps);
    /** What downstream answered to the allocation query. */
    void use_memory(GstQuery* allocation);
    void set_peer_reads_video_meta(bool reads);
    void set_peer_reads_fences(bool reads) { peer_reads_fences_ = reads; }

    /** While flushing, create() returns GST_FLOW_FLUSHING at once. */
    void set_flushing(bool flushing);
    /** From now on create() returns GST_FLOW_FLUSHING, for good. */
    void end();
    /** While paused, create() returns nothing. */
    void pause() { paused_ = true; }
    void resume();
    void set_cursor(CursorMode mode) { source_->set_cursor(mode); }
    GstPtr<GstCaps> caps() const;
    CaptureLatency latency() const;
    /** Takes one input event for the game. */
    Result<void> inject(InputActions actions);
    bool in_steps() const { return steps_ != nullptr; }

private:
    /** What became of a frame. */
    enum class Fate { push, skip, flushing, error };

    ScreencopyCapture(GstBaseSrc* element, std::shared_ptr<PictureSource> source,
                      const CaptureSettings& settings, CaptureStats& stats);

    GstElement* element() const { return GST_ELEMENT(element_); }
    void begin();
    GstFlowReturn create_live(GstBuffer** buffer);
    Fate admit(const CapturedFrame& frame);
    Fate agree_on(const CapturedFrame& frame);
    Fate settle_fence(const CapturedFrame& frame, bool copied);
    Fate wait_for_fence(GstStepscopeFence* fence);
    Fate make_buffer(const CapturedFrame& frame, GstPtr<GstBuffer>& buffer);
    void stamp(GstBuffer* buffer, uint64_t monotonic_ns);
    void start_ticks();
    void forget_agreement();
    GstBuffer* repeat_last();
    void announce_path(const CapturedFrame& frame);
    void warn_of_other_device(const PictureFormat& format);
    bool ask_for_size(uint32_t width, uint32_t height);
    bool within_deadlines();
    std::optional<PictureSource::Clock::time_point> next_deadline() const;
    GstFlowReturn finish(const Result<void>& connection);
    void post_ended(const SessionEnd& end, const std::string& message);
    void post_latency_change();
    std::pair<uint32_t, uint32_t> picture_size() const;

    // Lock-step, in screencopy_steps.cpp:
    GstFlowReturn create_step(GstBuffer** buffer);
    void set_step_rate(const RefreshRate& agreed);
    void begin_step();
    Fate take_answer(const StepAnswer& answer, GstBuffer** buffer);
    void take_picture(const StepAnswer& answer);
    Fate finish_group(const StepAnswer& answer, GstBuffer** buffer);
    void stamp_step(GstBuffer* buffer, const StepAnswer& answer, bool repeated);
    bool within_step_deadline();
    GstFlowReturn finish_steps(const Result<void>& connection);
    std::optional<PictureSource::Clock::time_point> next_step_deadline() const;

    GstBaseSrc* const element_;  // borrowed: it owns this
    const std::shared_ptr<PictureSource> source_;
    const CaptureSettings settings_;
    CaptureStats& stats_;

    std::atomic<bool> flushing_ = false;
    std::atomic<bool> ended_ = false;
    std::atomic<bool> paused_ = false;
    std::atomic<bool> resumed_ = true;

    mutable std::mutex mutex_;             // guards the next three
    std::optional<PictureFormat> format_;  // of the newest frame
    RefreshRate rate_{0, 1};               // negotiated; unlimited: every commit
    CaptureLatency posted_latency_;

    // Of the streaming thread:
    bool begun_ = false;
    std::optional<PictureFormat> agreed_;
    bool plain_memory_ = false;  // the caps are without memory:DMABuf
    bool peer_reads_video_meta_ = false;
    bool peer_reads_fences_ = false;
    bool wait_announced_ = false;
    GstVideoInfo info_{};  // of plain memory
    GstPtr<GstCaps> agreed_caps_;
    std::unique_ptr<FrameCopier> copier_;
    bool extra_credit_ = false;

    std::pair<uint32_t, uint32_t> wanted_size_{0, 0};
    std::optional<PictureSource::Clock::time_point> size_deadline_;
    std::optional<PictureSource::Clock::time_point> require_deadline_;
    bool require_met_ = false;            // a picture has passed through
    std::optional<FrameReason> refused_;  // why frames are skipped until require_deadline_
    std::string consumer_device_;         // as far as downstream says
    std::string warned_of_device_;
    std::optional<std::tuple<FramePath, FrameReason, PictureFormat, std::string, bool, std::string>>
        announced_;

    TickTimer ticks_;
    GstPtr<GstBuffer> last_;  // for repeats
    bool fresh_ = true;       // the next frame is the first after a start or pause
    bool discontinuity_ = false;
    GstClockTime last_pts_ = 0;
    uint64_t offset_ = 0;

    /** Of lock-step. */
    struct Steps {
        StepSettings settings;
        std::shared_ptr<SessionSource> session;
        std::unique_ptr<StepClient> client;
        StepTimeline timeline;
        uint32_t taken = 0;                    // of the steps that make one buffer
        std::optional<CapturedFrame> picture;  // of these steps
        bool picture_is_new = false;           // none of the steps before showed it
        bool game_shown = false;               // the game has shown a picture
        uint64_t input_sequence = 0;           // events sent before the open step
        PictureSource::Clock::time_point answer_deadline;
        std::optional<StepAnswer> ended;  // the answer that was the last
    };
    std::unique_ptr<Steps> steps_;
};

}  // namespace stepscope
