// SPDX-License-Identifier: LGPL-2.1-or-later
// Lock-step: each buffer is one step of the session, or several.
#include <gst/stepscope/stepscope.h>

#include <format>
#include <utility>

#include "gst/element_error.hpp"
#include "screencopy_capture.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

namespace stepscope {
namespace {

using Clock = PictureSource::Clock;

/** What a step's answer may take longer than the step's own timeout. */
constexpr std::chrono::seconds kAnswerGrace{5};
/** How long the session may take to say how its game ended, once a step was told so. */
constexpr std::chrono::seconds kEndTimeout{2};
/** Virtual time until a game must have shown its first picture. */
constexpr uint64_t kStartupLimitNs = uint64_t{600} * 1'000'000'000;

/** Several lines as one. */
std::string in_one_line(std::string text) {
    while (text.ends_with('\n')) {
        text.pop_back();
    }
    for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) {
        text.replace(at, 1, "; ");
    }
    return text;
}

}  // namespace

void ScreencopyCapture::set_step_rate(const RefreshRate& agreed) {
    if (!steps_) {
        return;
    }
    RefreshRate rate = agreed;
    if (rate.unlimited()) {
        // Downstream accepts nothing, as far as one can tell before the first picture.
        rate = source_->refresh();
    }
    steps_->timeline.set_rate(rate.unlimited() ? RefreshRate{60, 1} : rate);
}

GstFlowReturn ScreencopyCapture::create_step(GstBuffer** buffer) {
    Result<void> connection;
    for (;;) {
        if (flushing_ || ended_) {
            return GST_FLOW_FLUSHING;  // the answer to an open step is for the next call
        }
        if (paused_ && connection) {
            connection = source_->wait(std::nullopt);
            continue;
        }
        if (auto answer = steps_->client->take_answer()) {
            switch (take_answer(*answer, buffer)) {
                case Fate::push:
                    return GST_FLOW_OK;
                case Fate::skip:
                    continue;
                case Fate::flushing:
                    return GST_FLOW_FLUSHING;
                case Fate::error:
                    return GST_FLOW_ERROR;
            }
        }
        const bool end_known = !connection || source_->end();
        if (end_known || (steps_->ended && Clock::now() >= steps_->answer_deadline)) {
            return finish_steps(connection);
        }
        if (!steps_->ended && !steps_->client->open() && steps_->session->stream().has_credit()) {
            begin_step();
        }
        if (!within_deadlines() || !within_step_deadline()) {
            return GST_FLOW_ERROR;
        }
        connection = source_->wait(next_step_deadline());
    }
}

void ScreencopyCapture::begin_step() {
    if (!steps_->timeline.has_rate()) {
        set_step_rate({0, 1});
    }
    // All input so far and the step leave in one flush, that of the wait which follows.
    steps_->input_sequence = steps_->session->input().send_kept();
    const uint32_t timeout_ms = steps_->settings.timeout_ms;
    steps_->client->begin(steps_->timeline.length_ns(), timeout_ms);
    // A step that somebody else left open may have to time out first.
    steps_->answer_deadline =
        Clock::now() + std::chrono::milliseconds(2 * uint64_t{timeout_ms}) + kAnswerGrace;
}

std::optional<Clock::time_point> ScreencopyCapture::next_step_deadline() const {
    std::optional<Clock::time_point> next = next_deadline();
    const bool answer_due = steps_->client->open() && steps_->settings.timeout_ms != 0;
    if ((answer_due || steps_->ended) && (!next || steps_->answer_deadline < *next)) {
        next = steps_->answer_deadline;
    }
    return next;
}

bool ScreencopyCapture::within_step_deadline() {
    if (!steps_->client->open() || steps_->settings.timeout_ms == 0 ||
        Clock::now() < steps_->answer_deadline) {
        return true;
    }
    post_error(element(),
               {Fault::gone,
                std::format("the compositor of session '{}' (pid {}) does not answer a "
                            "step; is it stopped?",
                            steps_->session->control()->name(), steps_->session->control()->pid()),
                0});
    return false;
}

ScreencopyCapture::Fate ScreencopyCapture::take_answer(const StepAnswer& answer,
                                                       GstBuffer** buffer) {
    switch (answer.status) {
        case StepStatus::timeout:
            post_error(element(),
                       {Fault::gone,
                        std::format("step {} of session '{}' was not done after {} ms: {}",
                                    answer.step, steps_->session->control()->name(),
                                    steps_->settings.timeout_ms, in_one_line(answer.message)),
                        0});
            return Fate::error;
        case StepStatus::exited:
        case StepStatus::crashed:
            steps_->ended = answer;
            steps_->answer_deadline = Clock::now() + kEndTimeout;
            // A picture that was to wait for the last of several steps comes now.
            return steps_->picture_is_new ? finish_group(answer, buffer) : Fate::skip;
        case StepStatus::presented:
        case StepStatus::no_commit:
            break;
    }
    ++stats_.steps;
    stats_.gate = static_cast<uint32_t>(steps_->client->gate());
    take_picture(answer);
    steps_->timeline.advance();
    if (!steps_->game_shown && steps_->timeline.now_ns() > kStartupLimitNs) {
        post_error(
            element(),
            {Fault::gone,
             std::format("the game of session '{}' showed no picture within {} s of its "
                         "time; does it open a window?",
                         steps_->session->control()->name(), kStartupLimitNs / 1'000'000'000),
             0});
        return Fate::error;
    }
    if (++steps_->taken < steps_->settings.frames_per_step) {
        return Fate::skip;
    }
    return finish_group(answer, buffer);
}

// The frame events of a step come before its answer.
void ScreencopyCapture::take_picture(const StepAnswer& answer) {
    std::optional<CapturedFrame> frame = source_->take_newest();
    if (frame && !steps_->game_shown && frame->info.reason == FrameReason::no_window) {
        frame.reset();  // the empty screen before the game's window
    }
    // Where nothing was shown, a frame is the picture that was there before.
    const bool is_new = frame && answer.status == StepStatus::presented;
    if (!is_new) {
        ++stats_.no_frame_steps;
    }
    if (frame) {
        steps_->game_shown = true;
        if (is_new || !steps_->picture_is_new) {
            if (steps_->picture) {
                absorb_damage(frame->info, steps_->picture->info);
            }
            steps_->picture = std::move(frame);
            steps_->picture_is_new = is_new;
        }
    }
}

ScreencopyCapture::Fate ScreencopyCapture::finish_group(const StepAnswer& answer,
                                                        GstBuffer** buffer) {
    steps_->taken = 0;
    std::optional<CapturedFrame> picture = std::exchange(steps_->picture, std::nullopt);
    const bool is_new = std::exchange(steps_->picture_is_new, false);
    if (!is_new && steps_->game_shown && steps_->settings.on_no_frame == OnNoFrame::error) {
        post_error(element(), GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ,
                   std::format("on-no-frame=error, but step {} of session '{}' showed no new "
                               "picture; use on-no-frame=repeat or skip",
                               answer.step, steps_->session->control()->name()));
        return Fate::error;
    }
    if (!is_new && steps_->settings.on_no_frame == OnNoFrame::skip) {
        return Fate::skip;
    }
    GstPtr<GstBuffer> made;
    if (picture) {
        if (Fate fate = make_buffer(*picture, made); fate != Fate::push) {
            stats_.dropped += fate == Fate::skip && is_new ? 1 : 0;
            return fate;
        }
    } else if (last_) {
        made.reset(gst_buffer_copy(last_.get()));
        GST_BUFFER_FLAG_UNSET(made.get(), GST_BUFFER_FLAG_DISCONT);
    } else {
        return Fate::skip;  // there is nothing to repeat yet
    }
    stamp_step(made.get(), answer, !is_new);
    *buffer = made.release();
    return Fate::push;
}

void ScreencopyCapture::stamp_step(GstBuffer* buffer, const StepAnswer& answer, bool repeated) {
    const StepTimeline& timeline = steps_->timeline;
    const uint64_t start = timeline.last_start_ns();
    const uint32_t steps = steps_->settings.frames_per_step;
    GST_BUFFER_PTS(buffer) = start;
    GST_BUFFER_DURATION(buffer) = timeline.start_after_last_ns(steps) - start;
    GST_BUFFER_OFFSET(buffer) = answer.step;
    GST_BUFFER_OFFSET_END(buffer) = answer.step + steps;
    GstStepscopeFrameMeta* meta = gst_buffer_get_stepscope_frame_meta(buffer);
    meta->repeated = repeated ? TRUE : FALSE;
    meta->input_sequence = steps_->input_sequence;
    if (repeated) {
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_GAP);
        ++stats_.repeated;
    }
    if (steps_->settings.on_no_frame == OnNoFrame::repeat) {
        // A copy of the buffer, not a reference: that would make it read-only for downstream.
        last_.reset(gst_buffer_copy(buffer));
    }
    ++stats_.frames;
    GST_LOG_OBJECT(element_, "step %" G_GUINT64_FORMAT " at %" GST_TIME_FORMAT "%s", answer.step,
                   GST_TIME_ARGS(start), repeated ? ", repeated" : "");
}

GstFlowReturn ScreencopyCapture::finish_steps(const Result<void>& connection) {
    if (!steps_->ended) {
        return finish(connection);
    }
    SessionEnd end{steps_->ended->status == StepStatus::crashed ? SessionEnd::How::signaled
                                                                : SessionEnd::How::exited,
                   0};
    end = source_->end().value_or(end);
    GST_INFO_OBJECT(element_, "the game ended: %s", steps_->ended->message.c_str());
    post_ended(end, steps_->ended->message);
    return GST_FLOW_EOS;
}

}  // namespace stepscope
