// SPDX-License-Identifier: LGPL-2.1-or-later
#include "screencopy_capture.hpp"

#include <gst/stepscope/stepscope.h>

#include <algorithm>
#include <format>

#include "display_source.hpp"
#include "gst/element_error.hpp"
#include "negotiation.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

namespace stepscope {
namespace {

using Clock = PictureSource::Clock;

/** How long a compositor may take to answer the first requests for steps. */
constexpr std::chrono::seconds kConnectTimeout{5};
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
        case SessionEnd::How::output_gone:
            return "output-gone";
    }
    return "unknown";
}

}  // namespace

void reset(CaptureStats& stats) {
    for (auto* counter :
         {&stats.frames, &stats.passed_through, &stats.composed, &stats.copied, &stats.dropped,
          &stats.repeated, &stats.imports, &stats.fences, &stats.fences_imported,
          &stats.fences_waited, &stats.steps, &stats.no_frame_steps}) {
        *counter = 0;
    }
    stats.gate = 0;
}

ScreencopyCapture::ScreencopyCapture(GstBaseSrc* element, std::shared_ptr<PictureSource> source,
                                     const CaptureSettings& settings, CaptureStats& stats)
    : element_(element),
      source_(std::move(source)),
      settings_(settings),
      stats_(stats),
      // A clock may keep the callback a while longer than this object; not the connection.
      ticks_([weak = std::weak_ptr<PictureSource>(source_)] {
          if (auto locked = weak.lock()) {
              locked->wake();
          }
      }) {}

ScreencopyCapture::~ScreencopyCapture() {
    // Before the connection: somebody else may step the session from now on.
    steps_.reset();
}

/** What a session can do and other compositors can't is refused here. */
static Result<std::shared_ptr<PictureSource>> connect_display(const std::string& session,
                                                              const CaptureSettings& settings,
                                                              CaptureStats& stats) {
    if (!session.empty()) {
        return fail(Fault::usage,
                    std::format("session={} and display={} are both set; a session is a Stepscope "
                                "session, a display any other compositor: choose one",
                                session, settings.display));
    }
    if (settings.steps) {
        return fail(Fault::unsupported,
                    std::format("mode=lockstep, but display '{}' is no Stepscope session, and only "
                                "those can be stepped; use mode=live, or start the game with: "
                                "stepscope --lockstep -- COMMAND",
                                settings.display));
    }
    if (settings.zero_copy == ZeroCopy::require) {
        return fail(Fault::unsupported,
                    std::format("zero-copy=require, but display '{}' can't: {}", settings.display,
                                explain(FrameReason::screencopy)));
    }
    std::optional<PictureArea> region;
    if (!settings.region.empty()) {
        auto parsed = parse_area(settings.region);
        if (!parsed) {
            return std::unexpected(parsed.error());
        }
        region = *parsed;
    }
    return DisplaySource::connect(
        {settings.display, settings.output, region, settings.cursor, settings.max_buffers}, stats);
}

Result<std::unique_ptr<ScreencopyCapture>> ScreencopyCapture::connect(
    GstBaseSrc* element, const std::string& session, const CaptureSettings& settings,
    CaptureStats& stats) {
    if (!settings.display.empty()) {
        auto source = connect_display(session, settings, stats);
        if (!source) {
            return std::unexpected(source.error());
        }
        GST_INFO_OBJECT(element, "connected to %s", (*source)->name().c_str());
        return std::unique_ptr<ScreencopyCapture>(
            new ScreencopyCapture(element, std::move(*source), settings, stats));
    }
    if (!settings.output.empty() || !settings.region.empty()) {
        return fail(Fault::usage,
                    "output= and region= are for other compositors: set display=, or "
                    "leave them away");
    }
    auto source = SessionSource::connect(
        session, {settings.cursor, settings.max_buffers, settings.steps.has_value()}, stats);
    if (!source) {
        return std::unexpected(source.error());
    }
    GST_INFO_OBJECT(element, "connected to %s", (*source)->name().c_str());
    const ControlClient& control = *(*source)->control();
    if (!settings.steps && control.in_lockstep()) {
        // Whoever watches a session that another one steps wants just that.
        GST_ELEMENT_INFO(element, RESOURCE, SETTINGS,
                         ("session '%s' is in lock-step: a picture comes when somebody steps it; "
                          "this element does with mode=lockstep",
                          control.name().c_str()),
                         (nullptr));
    }
    std::unique_ptr<Steps> steps;
    if (settings.steps) {
        auto client = StepClient::create((*source)->control(), kConnectTimeout);
        if (!client) {
            return std::unexpected(client.error());
        }
        steps = std::make_unique<Steps>();
        steps->settings = *settings.steps;
        steps->session = *source;
        steps->client = std::move(*client);
    }
    std::unique_ptr<ScreencopyCapture> capture(
        new ScreencopyCapture(element, std::move(*source), settings, stats));
    capture->steps_ = std::move(steps);
    return capture;
}

void ScreencopyCapture::set_flushing(bool flushing) {
    flushing_ = flushing;
    source_->wake();
}

void ScreencopyCapture::end() {
    ended_ = true;
    source_->wake();
}

void ScreencopyCapture::resume() {
    resumed_ = true;
    paused_ = false;
    source_->wake();
}

void ScreencopyCapture::set_peer_reads_video_meta(bool reads) {
    if (std::exchange(peer_reads_video_meta_, reads) && !reads) {
        last_.reset();  // its rows may be padded
    }
}

GstPtr<GstCaps> ScreencopyCapture::caps() const {
    const bool mapped_only = settings_.zero_copy == ZeroCopy::off;
    if (const auto formats = source_->formats(); !formats.empty()) {
        return choice_caps(formats, mapped_only);
    }
    GstPtr<GstCaps> all;
    {
        std::lock_guard lock(mutex_);
        if (format_) {
            all = picture_caps(*format_, mapped_only);
        }
    }
    if (!all) {
        const auto [width, height] = source_->size();
        all = sized_template_caps(width, height);
    }
    return settings_.steps ? with_step_rates(std::move(all)) : std::move(all);
}

CaptureLatency ScreencopyCapture::latency() const {
    if (settings_.steps) {
        return {0, GST_CLOCK_TIME_NONE};
    }
    std::lock_guard lock(mutex_);
    const GstClockTime period = period_of(rate_.unlimited() ? source_->refresh() : rate_);
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

Result<void> ScreencopyCapture::inject(InputActions actions) {
    const auto [width, height] = picture_size();
    return source_->inject(std::move(actions), width, height);
}

std::pair<uint32_t, uint32_t> ScreencopyCapture::picture_size() const {
    {
        std::lock_guard lock(mutex_);
        if (format_) {
            return {format_->width, format_->height};
        }
    }
    return source_->size();
}

GstFlowReturn ScreencopyCapture::create(GstBuffer** buffer) {
    begin();
    return steps_ ? create_step(buffer) : create_live(buffer);
}

GstFlowReturn ScreencopyCapture::create_live(GstBuffer** buffer) {
    // What came while downstream worked, so that old frames are not taken for the newest.
    Result<void> connection = source_->wait(Clock::now());
    for (;;) {
        if (flushing_ || ended_) {
            return GST_FLOW_FLUSHING;
        }
        if (paused_ && connection) {
            connection = source_->wait(std::nullopt);
            continue;
        }
        if (resumed_.exchange(false)) {
            // What came while nobody pulled is old.
            source_->keep_newest();
            ticks_.stop();
            fresh_ = true;
        }
        const bool ending = !connection || source_->end();
        const bool tick = ticks_.running() && ticks_.due();
        if (!ticks_.running() || tick || ending) {
            if (auto frame = ticks_.running() ? source_->take_newest() : source_->take_oldest()) {
                GstPtr<GstBuffer> made;
                switch (make_buffer(*frame, made)) {
                    case Fate::push:
                        stamp(made.get(), frame->info.time_ns);
                        *buffer = made.release();
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
            // Also right after a pause or a change of the rate: no tick comes before that.
            if (last_ && (tick || !ticks_.running())) {
                *buffer = repeat_last();
                return GST_FLOW_OK;
            }
        }
        if (!within_deadlines()) {
            return GST_FLOW_ERROR;
        }
        connection = source_->wait(next_deadline());
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
    if (steps_) {
        const bool keeps_last = steps_->settings.on_no_frame == OnNoFrame::repeat;
        for (bool extra : {keeps_last, steps_->settings.frames_per_step > 1}) {
            if (extra) {
                source_->add_credit();
            }
        }
        steps_->session->stream().wake_on_release();
    }
    source_->start();
}

ScreencopyCapture::Fate ScreencopyCapture::admit(const CapturedFrame& frame) {
    if (settings_.zero_copy != ZeroCopy::require) {
        return Fate::push;
    }
    if (frame.info.path == FramePath::passed_through) {
        refused_.reset();
        require_met_ = true;
        return Fate::push;
    }
    announce_path(frame);
    refused_ = frame.info.reason;
    // How many buffers a game has, and so how many can be held, shows only after some frames.
    if (require_met_ && refused_ != FrameReason::held) {
        require_deadline_.reset();
    }
    return within_deadlines() ? Fate::skip : Fate::error;
}

ScreencopyCapture::Fate ScreencopyCapture::make_buffer(const CapturedFrame& frame,
                                                       GstPtr<GstBuffer>& made) {
    if (Fate fate = admit(frame); fate != Fate::push) {
        return fate;
    }
    if (Fate fate = agree_on(frame); fate != Fate::push) {
        return fate;
    }
    announce_path(frame);
    const bool odd_layout =
        plain_memory_ && !peer_reads_video_meta_ && !has_default_layout(frame, info_);
    const bool copy = settings_.zero_copy == ZeroCopy::off ||
                      (odd_layout && settings_.zero_copy == ZeroCopy::prefer);
    if (Fate fate = settle_fence(frame, copy); fate != Fate::push) {
        return fate;
    }
    if (copy) {
        if (!copier_) {
            auto copier = FrameCopier::create(agreed_caps_.get(), peer_reads_video_meta_);
            if (!copier) {
                post_error(element(), copier.error());
                return Fate::error;
            }
            copier_ = std::move(*copier);
        }
        auto copied = copier_->copy(frame);
        if (!copied) {
            post_error(element(), copied.error());
            return Fate::error;
        }
        made = std::move(*copied);
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
        source_->add_credit();
    }
}

/** The age of a first picture that is believed: a few periods of any output. Not "now": the second
 * picture, which is on its way, would be the older one then. */
constexpr GstClockTime kOldestFirst = 50 * GST_MSECOND;

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
        if (fresh_ && !constant_rate && time + kOldestFirst < now) {
            time = now - kOldestFirst;  // what was on the screen when the capture began may be old
        }
        GstClockTime pts = time > base_time ? time - base_time : 0;
        if (!fresh_ && pts <= last_pts_) {
            pts = last_pts_ + 1;  // encoders take no two pictures of one time
        }
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
    forget_damage(buffer.get());
    stamp(buffer.get(), 0);
    ++stats_.repeated;
    return buffer.release();
}

// --- messages ------------------------------------------------------------------------------------

GstFlowReturn ScreencopyCapture::finish(const Result<void>& connection) {
    if (const auto end = source_->end()) {
        GST_INFO_OBJECT(element_, "the game %s (%u)", nick_of(end->how), end->value);
        post_ended(*end, "");
        return GST_FLOW_EOS;
    }
    post_error(element(), connection.error());
    return GST_FLOW_ERROR;
}

void ScreencopyCapture::post_ended(const SessionEnd& end, const std::string& message) {
    GstStructure* facts =
        gst_structure_new("stepscope-ended", "how", G_TYPE_STRING, nick_of(end.how), "value",
                          G_TYPE_UINT, end.value, nullptr);
    if (!message.empty()) {
        gst_structure_set(facts, "message", G_TYPE_STRING, message.c_str(), nullptr);
    }
    // Downstream too: a sink may have somebody of its own to tell.
    gst_pad_push_event(GST_BASE_SRC_PAD(element_), gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM,
                                                                        gst_structure_copy(facts)));
    gst_element_post_message(element(), gst_message_new_element(GST_OBJECT(element_), facts));
}

}  // namespace stepscope
