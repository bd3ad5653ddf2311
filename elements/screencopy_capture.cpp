// SPDX-License-Identifier: LGPL-2.1-or-later
#include "screencopy_capture.hpp"

#include <gst/allocators/gstdmabuf.h>
#include <gst/stepscope/stepscope.h>

#include <algorithm>
#include <format>

#include "gst/element_error.hpp"
#include "navigation.hpp"
#include "negotiation.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

namespace stepscope {
namespace {

using Clock = ControlClient::Clock;

/** How long a compositor may take to answer the first requests. */
constexpr std::chrono::seconds kConnectTimeout{5};
/** How long a stop waits for the compositor to read the last input. */
constexpr std::chrono::milliseconds kStopTimeout{500};
/** How long a session may take to show its game in another size. */
constexpr std::chrono::seconds kSizeTimeout{5};
/** How long a starting game may take until its pictures pass through. */
constexpr std::chrono::seconds kRequireGrace{3};

GstClockTime period_of(const RefreshRate& rate) {
    return rate.unlimited() ? 0 : static_cast<GstClockTime>(rate.period_start_ns(1));
}

const char* nick_of(SessionEnd::How how) {
    switch (how) {
        case SessionEnd::How::exited:
            return "exited";
        case SessionEnd::How::signaled:
            return "signaled";
        case SessionEnd::How::not_started:
            return "not-started";
    }
    return "unknown";
}

}  // namespace

void reset(CaptureStats& stats) {
    for (auto* counter : {&stats.frames, &stats.passed_through, &stats.composed, &stats.copied,
                          &stats.dropped, &stats.repeated, &stats.imports}) {
        *counter = 0;
    }
}

ScreencopyCapture::ScreencopyCapture(GstBaseSrc* element, std::shared_ptr<ControlClient> control,
                                     const CaptureSettings& settings, CaptureStats& stats)
    : element_(element),
      control_(std::move(control)),
      settings_(settings),
      stats_(stats),
      stream_(control_, settings.cursor, settings.max_buffers, stats),
      // A clock may keep the callback a while longer than this object; not the connection.
      ticks_([weak = std::weak_ptr<ControlClient>(control_)] {
          if (auto locked = weak.lock()) {
              locked->wake();
          }
      }) {}

ScreencopyCapture::~ScreencopyCapture() {
    if (injector_) {
        injector_.reset();
        // A compositor throws away what it has not read when a connection closes: let it read that
        // keys and buttons are up. If it does not answer, nothing can be done.
        static_cast<void>(control_->roundtrip(kStopTimeout));
    }
}

Result<std::unique_ptr<ScreencopyCapture>> ScreencopyCapture::connect(
    GstBaseSrc* element, const std::string& session, const CaptureSettings& settings,
    CaptureStats& stats) {
    auto found = find_session(session);
    if (!found) {
        return std::unexpected(found.error());
    }
    auto control = ControlClient::connect(*found, kConnectTimeout);
    if (!control) {
        return std::unexpected(control.error());
    }
    GST_INFO_OBJECT(element, "connected to session '%s' (pid %d)", found->name.c_str(),
                    static_cast<int>(found->pid));
    return std::unique_ptr<ScreencopyCapture>(
        new ScreencopyCapture(element, std::move(*control), settings, stats));
}

void ScreencopyCapture::set_flushing(bool flushing) {
    flushing_ = flushing;
    control_->wake();
}

void ScreencopyCapture::resume() {
    resumed_ = true;
    paused_ = false;
    control_->wake();
}

void ScreencopyCapture::set_peer_reads_video_meta(bool reads) {
    peer_reads_video_meta_ = reads;
}

GstPtr<GstCaps> ScreencopyCapture::caps() const {
    std::lock_guard lock(mutex_);
    if (format_) {
        return picture_caps(*format_, settings_.zero_copy == ZeroCopy::off);
    }
    const SessionState state = control_->state();
    return sized_template_caps(state.width, state.height);
}

CaptureLatency ScreencopyCapture::latency() const {
    std::lock_guard lock(mutex_);
    const GstClockTime period = period_of(rate_.unlimited() ? control_->refresh() : rate_);
    if (period == 0) {
        return {0, GST_CLOCK_TIME_NONE};
    }
    return {period, period * (1 + settings_.max_buffers)};
}

void ScreencopyCapture::post_latency_change() {
    const CaptureLatency now = latency();
    {
        std::lock_guard lock(mutex_);
        if (now.minimum == posted_latency_.minimum && now.maximum == posted_latency_.maximum) {
            return;
        }
        posted_latency_ = now;
    }
    gst_element_post_message(element(), gst_message_new_latency(GST_OBJECT(element_)));
}

Result<bool> ScreencopyCapture::inject(GstEvent* event) {
    std::lock_guard lock(mutex_);
    if (!injector_) {
        auto created = InputInjector::create(control_);
        if (!created) {
            return std::unexpected(created.error());
        }
        injector_ = std::move(*created);
    }
    if (format_) {
        return inject_navigation(*injector_, event, format_->width, format_->height);
    }
    const SessionState state = control_->state();
    return inject_navigation(*injector_, event, state.width, state.height);
}

// --- negotiation ---------------------------------------------------------------------------------

bool ScreencopyCapture::negotiate() {
    std::optional<PictureFormat> format;
    {
        std::lock_guard lock(mutex_);
        format = format_;
    }
    GstPtr<GstCaps> offered = caps();
    GstPtr<GstCaps> everything = picture_template_caps();
    GstPtr<GstCaps> peer(gst_pad_peer_query_caps(GST_BASE_SRC_PAD(element_), everything.get()));
    Negotiation found = negotiate_caps(peer.get(), offered.get(), control_->refresh());
    switch (found.outcome) {
        case Negotiation::Outcome::other_size:
            forget_agreement();
            ask_for_size(found.width, found.height);
            return true;
        case Negotiation::Outcome::agreed:
            if (!format) {
                return true;  // caps need the first frame's format
            }
            // Before the caps are set: set_caps() looks at it.
            agreed_ = format;
            wanted_size_ = {0, 0};
            size_deadline_.reset();
            if (!gst_base_src_set_caps(element_, found.caps.get())) {
                agreed_.reset();
                return false;
            }
            return true;
        case Negotiation::Outcome::impossible:
            break;
    }
    if (!format) {
        return true;  // the first frame may be of a format that downstream accepts
    }
    GstPtr<char> ours(gst_caps_to_string(offered.get()));
    GstPtr<char> theirs(gst_caps_to_string(peer.get()));
    post_error(
        element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
        std::format("downstream accepts none of what the session has: it has {}, accepted is "
                    "{}; insert videoconvert, or glupload for DMA-BUF memory",
                    gst_caps_is_empty(offered.get()) ? "a format that can't be mapped" : ours.get(),
                    theirs.get()));
    return false;
}

bool ScreencopyCapture::set_caps(const GstCaps* caps) {
    const GstStructure* structure = gst_caps_get_structure(caps, 0);
    int numerator = 0;
    int denominator = 1;
    gst_structure_get_fraction(structure, "framerate", &numerator, &denominator);
    {
        std::lock_guard lock(mutex_);
        rate_ = {static_cast<uint32_t>(numerator), static_cast<uint32_t>(denominator)};
    }
    plain_memory_ =
        !gst_caps_features_contains(gst_caps_get_features(caps, 0), GST_CAPS_FEATURE_MEMORY_DMABUF);
    if (plain_memory_ && !gst_video_info_from_caps(&info_, caps)) {
        return false;
    }
    agreed_caps_.reset(gst_caps_copy(caps));
    copier_.reset();
    last_.reset();
    ticks_.stop();
    post_latency_change();
    return true;
}

void ScreencopyCapture::forget_agreement() {
    agreed_.reset();
    copier_.reset();
    last_.reset();
    ticks_.stop();
}

void ScreencopyCapture::ask_for_size(uint32_t width, uint32_t height) {
    if (wanted_size_ == std::pair(width, height)) {
        return;
    }
    GST_INFO_OBJECT(element_, "asking the session for %ux%u", width, height);
    wanted_size_ = {width, height};
    size_deadline_ = Clock::now() + kSizeTimeout;
    control_->set_output_size(width, height);
}

// --- frames --------------------------------------------------------------------------------------

GstFlowReturn ScreencopyCapture::create(GstBuffer** buffer) {
    begin();
    // What came while downstream worked, so that old frames are not taken for the newest.
    Result<void> connection = control_->wait(Clock::now());
    for (;;) {
        if (flushing_) {
            return GST_FLOW_FLUSHING;
        }
        if (paused_ && connection) {
            connection = control_->wait(std::nullopt);
            continue;
        }
        if (resumed_.exchange(false)) {
            // What came while nobody pulled is old.
            stream_.keep_newest();
            ticks_.stop();
            fresh_ = true;
        }
        const bool ending = !connection || control_->end();
        const bool tick = ticks_.running() && ticks_.due();
        if (!ticks_.running() || tick || ending) {
            if (auto frame = ticks_.running() ? stream_.take_newest() : stream_.take_oldest()) {
                switch (make_buffer(*frame, buffer)) {
                    case Fate::push:
                        return GST_FLOW_OK;
                    case Fate::skip:
                        ++stats_.dropped;
                        continue;
                    case Fate::flushing:
                        return GST_FLOW_FLUSHING;
                    case Fate::error:
                        return GST_FLOW_ERROR;
                }
            }
            if (ending) {
                return finish(connection);
            }
            if (tick && last_) {
                *buffer = repeat_last();
                return GST_FLOW_OK;
            }
        }
        if (!within_deadlines()) {
            return GST_FLOW_ERROR;
        }
        connection = control_->wait(next_deadline());
    }
}

void ScreencopyCapture::begin() {
    if (begun_) {
        return;
    }
    begun_ = true;
    if (settings_.zero_copy == ZeroCopy::require) {
        require_deadline_ = Clock::now() + kRequireGrace;
    }
    stream_.start();
}

ScreencopyCapture::Fate ScreencopyCapture::admit(const CapturedFrame& frame) {
    announce_path(frame);
    if (settings_.zero_copy != ZeroCopy::require) {
        return Fate::push;
    }
    if (frame.info.path == FramePath::passed_through) {
        refused_.reset();
        require_met_ = true;
        return Fate::push;
    }
    refused_ = frame.info.reason;
    // How many buffers a game has, and so how many can be held, shows only after some frames.
    if (require_met_ && refused_ != FrameReason::held) {
        require_deadline_.reset();
    }
    return within_deadlines() ? Fate::skip : Fate::error;
}

bool ScreencopyCapture::within_deadlines() {
    const auto now = Clock::now();
    if (refused_ && (!require_deadline_ || now >= *require_deadline_)) {
        post_error(element(), GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                   std::format("zero-copy=require, but a picture did not pass through: {}",
                               explain(*refused_)));
        return false;
    }
    if (size_deadline_ && now >= *size_deadline_) {
        const SessionState state = control_->state();
        post_error(element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
                   std::format("downstream wants pictures of {}x{}, but session '{}' still shows "
                               "{}x{}; insert videoscale, or start the session with that size",
                               wanted_size_.first, wanted_size_.second, control_->name(),
                               format_ ? format_->width : state.width,
                               format_ ? format_->height : state.height));
        return false;
    }
    return true;
}

std::optional<Clock::time_point> ScreencopyCapture::next_deadline() const {
    std::optional<Clock::time_point> next = size_deadline_;
    if (refused_ && require_deadline_ && (!next || *require_deadline_ < *next)) {
        next = require_deadline_;
    }
    return next;
}

ScreencopyCapture::Fate ScreencopyCapture::agree_on(const CapturedFrame& frame) {
    if (agreed_ == frame.format()) {
        return Fate::push;
    }
    const bool known = format_.has_value();
    {
        std::lock_guard lock(mutex_);
        format_ = frame.format();
    }
    forget_agreement();
    if (!gst_base_src_negotiate(element_)) {
        return flushing_ ? Fate::flushing : Fate::error;
    }
    if (!agreed_) {
        return Fate::skip;  // the session was asked for another size
    }
    discontinuity_ = known;
    return Fate::push;
}

ScreencopyCapture::Fate ScreencopyCapture::make_buffer(const CapturedFrame& frame,
                                                       GstBuffer** buffer) {
    if (Fate fate = admit(frame); fate != Fate::push) {
        return fate;
    }
    if (Fate fate = agree_on(frame); fate != Fate::push) {
        return fate;
    }
    const bool odd_layout =
        plain_memory_ && !peer_reads_video_meta_ && !has_default_layout(frame, info_);
    GstPtr<GstBuffer> made;
    if (settings_.zero_copy == ZeroCopy::off ||
        (odd_layout && settings_.zero_copy == ZeroCopy::prefer)) {
        if (!copier_) {
            auto copier = FrameCopier::create(agreed_caps_.get(), peer_reads_video_meta_);
            if (!copier) {
                post_error(element(), copier.error());
                return Fate::error;
            }
            copier_ = std::move(*copier);
        }
        auto copy = copier_->copy(frame);
        if (!copy) {
            post_error(element(), copy.error());
            return Fate::error;
        }
        made = std::move(*copy);
        ++stats_.copied;
    } else if (odd_layout) {
        post_error(element(), GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                   "zero-copy=require, but downstream does not read GstVideoMeta and the picture's "
                   "rows are padded; use zero-copy=prefer");
        return Fate::error;
    } else {
        made = wrap_frame(frame);
        ++(frame.info.path == FramePath::passed_through ? stats_.passed_through
           : frame.info.path == FramePath::composed     ? stats_.composed
                                                        : stats_.copied);
    }
    if (discontinuity_) {
        GST_BUFFER_FLAG_SET(made.get(), GST_BUFFER_FLAG_DISCONT);
        discontinuity_ = false;
    }
    stamp(made.get(), frame.info.time_ns);
    *buffer = made.release();
    return Fate::push;
}

void ScreencopyCapture::start_ticks() {
    GstPtr<GstClock> clock(gst_element_get_clock(element()));
    if (!clock) {
        clock.reset(gst_system_clock_obtain());
    }
    ticks_.start(clock.get(), gst_clock_get_time(clock.get()), rate_);
    if (!extra_credit_) {
        // The frame that is kept for repeats must not be missing downstream.
        extra_credit_ = true;
        stream_.add_credit();
    }
}

void ScreencopyCapture::stamp(GstBuffer* buffer, uint64_t monotonic_ns) {
    std::optional<GstClockTime> tick;
    const bool constant_rate = !rate_.unlimited();
    if (constant_rate && ticks_.running()) {
        tick = ticks_.take();
    } else if (constant_rate) {
        start_ticks();
    }
    if (GstPtr<GstClock> clock(gst_element_get_clock(element())); clock) {
        const GstClockTime base_time = gst_element_get_base_time(element());
        const GstClockTime now = gst_clock_get_time(clock.get());
        GstClockTime time = tick            ? *tick
                            : constant_rate ? ticks_.first()
                                            : to_clock_time(clock.get(), monotonic_ns);
        if (fresh_ && time < now && !constant_rate) {
            time = now;  // what was on the screen when the capture began may be old
        }
        GstClockTime pts = time > base_time ? time - base_time : 0;
        pts = std::max(pts, last_pts_);
        last_pts_ = pts;
        GST_BUFFER_PTS(buffer) = pts;
    }
    fresh_ = false;
    if (constant_rate) {
        GST_BUFFER_DURATION(buffer) = period_of(rate_);
        // A copy of the buffer, not a reference: that would make it read-only for downstream.
        last_.reset(gst_buffer_copy(buffer));
    }
    GST_BUFFER_OFFSET(buffer) = offset_++;
    GST_BUFFER_OFFSET_END(buffer) = offset_;
    ++stats_.frames;
    post_latency_change();
    GST_LOG_OBJECT(element_, "frame %" G_GUINT64_FORMAT " at %" GST_TIME_FORMAT, offset_ - 1,
                   GST_TIME_ARGS(GST_BUFFER_PTS(buffer)));
}

GstBuffer* ScreencopyCapture::repeat_last() {
    GstPtr<GstBuffer> buffer(gst_buffer_copy(last_.get()));
    GST_BUFFER_FLAG_SET(buffer.get(), GST_BUFFER_FLAG_GAP);
    GST_BUFFER_FLAG_UNSET(buffer.get(), GST_BUFFER_FLAG_DISCONT);
    gst_buffer_get_stepscope_frame_meta(buffer.get())->repeated = TRUE;
    stamp(buffer.get(), 0);
    ++stats_.repeated;
    return buffer.release();
}

// --- messages ------------------------------------------------------------------------------------

void ScreencopyCapture::announce_path(const CapturedFrame& frame) {
    const std::pair now(frame.info.path, frame.info.reason);
    if (announced_ == now) {
        return;
    }
    announced_ = now;
    const PictureFormat& format = frame.format();
    GST_INFO_OBJECT(element_, "pictures are %s now (%s)", nick_of(frame.info.path),
                    nick_of(frame.info.reason));
    gst_element_post_message(
        element(),
        gst_message_new_element(
            GST_OBJECT(element_),
            gst_structure_new("stepscope-path", "path", G_TYPE_STRING, nick_of(frame.info.path),
                              "reason", G_TYPE_STRING, nick_of(frame.info.reason), "width",
                              G_TYPE_UINT, format.width, "height", G_TYPE_UINT, format.height,
                              "memory", G_TYPE_STRING,
                              format.memory == MemoryKind::dmabuf ? "dmabuf" : "memfd", nullptr)));
}

GstFlowReturn ScreencopyCapture::finish(const Result<void>& connection) {
    if (const auto end = control_->end()) {
        GST_INFO_OBJECT(element_, "the game %s (%u)", nick_of(end->how), end->value);
        gst_element_post_message(
            element(),
            gst_message_new_element(
                GST_OBJECT(element_),
                gst_structure_new("stepscope-ended", "how", G_TYPE_STRING, nick_of(end->how),
                                  "value", G_TYPE_UINT, end->value, nullptr)));
        return GST_FLOW_EOS;
    }
    post_error(element(), connection.error());
    return GST_FLOW_ERROR;
}

}  // namespace stepscope
