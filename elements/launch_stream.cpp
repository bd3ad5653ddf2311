// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_stream.hpp"

#include <algorithm>
#include <utility>

namespace stepscope {
namespace {

void follow(GstPad* pad, GstPadProbeCallback handler, LaunchStream* stream) {
    static const GQuark kFollowed = g_quark_from_static_string("stepscope-followed");
    if (g_object_get_qdata(G_OBJECT(pad), kFollowed) != nullptr) {
        return;
    }
    g_object_set_qdata(G_OBJECT(pad), kFollowed, stream);
    gst_pad_add_probe(pad,
                      static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_BUFFER |
                                                   GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM),
                      handler, stream, nullptr);
}

void note_end(GstClockTime& until, GstBuffer* buffer) {
    if (GST_BUFFER_PTS_IS_VALID(buffer) && GST_BUFFER_DURATION_IS_VALID(buffer)) {
        until = GST_BUFFER_PTS(buffer) + GST_BUFFER_DURATION(buffer);
    }
}

bool is_buffer(GstPadProbeInfo* info) {
    return (GST_PAD_PROBE_INFO_TYPE(info) & GST_PAD_PROBE_TYPE_BUFFER) != 0;
}

}  // namespace

void LaunchStream::begin(bool endless_push, bool stepped_sound) {
    std::lock_guard lock(mutex_);
    endless_push_ = endless_push;
    stepped_sound_ = stepped_sound;
    offset_ = 0;
    pictures_until_ = sound_until_ = 0;
}

void LaunchStream::begin_attempt() {
    std::lock_guard lock(mutex_);
    session_over_ = false;
    kept_error_.reset();
    frame_seen_ = false;
    pictures_ = Ended::no;
    sound_over_ = false;
    offset_ += static_cast<GstClockTimeDiff>(std::max(pictures_until_, sound_until_));
    pictures_until_ = sound_until_ = 0;
}

GstClockTimeDiff LaunchStream::offset() const {
    std::lock_guard lock(mutex_);
    return offset_;
}

void LaunchStream::set_tags(GstPtr<GstTagList> tags) {
    std::lock_guard lock(mutex_);
    tags_ = std::move(tags);
}

void LaunchStream::note_session_over() {
    std::lock_guard lock(mutex_);
    session_over_ = true;
}

void LaunchStream::keep_error(GstMessage* message) {
    std::lock_guard lock(mutex_);
    kept_error_.reset(message);
}

GstPtr<GstMessage> LaunchStream::take_error() {
    std::lock_guard lock(mutex_);
    return std::move(kept_error_);
}

void LaunchStream::follow_pictures(GstPad* pad) {
    follow(pad, handle_pictures, this);
}

void LaunchStream::follow_sound(GstPad* pad) {
    follow(pad, handle_sound, this);
}

GstPadProbeReturn LaunchStream::handle_pictures(GstPad* pad, GstPadProbeInfo* info, gpointer data) {
    // Called for each buffer and event of a source of pictures.
    auto* self = static_cast<LaunchStream*>(data);
    if (is_buffer(info)) {
        self->handle_picture(pad, GST_PAD_PROBE_INFO_BUFFER(info));
        return GST_PAD_PROBE_OK;
    }
    return GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS
               ? self->handle_pictures_end()
               : GST_PAD_PROBE_OK;
}

GstPadProbeReturn LaunchStream::handle_sound(GstPad* /*pad*/, GstPadProbeInfo* info,
                                             gpointer data) {
    // Called for each buffer and event of the source of stepped sound.
    auto* self = static_cast<LaunchStream*>(data);
    if (is_buffer(info)) {
        std::lock_guard lock(self->mutex_);
        note_end(self->sound_until_, GST_PAD_PROBE_INFO_BUFFER(info));
        return GST_PAD_PROBE_OK;
    }
    return GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS
               ? self->handle_sound_end()
               : GST_PAD_PROBE_OK;
}

void LaunchStream::handle_picture(GstPad* pad, GstBuffer* buffer) {
    GstPtr<GstTagList> tags;
    bool first = false;
    {
        std::lock_guard lock(mutex_);
        tags = std::move(tags_);
        first = !std::exchange(frame_seen_, true);
        note_end(pictures_until_, buffer);
    }
    if (tags) {
        gst_pad_push_event(pad, gst_event_new_tag(tags.release()));
    }
    if (first) {
        hooks_.first_frame();
    }
}

GstPadProbeReturn LaunchStream::handle_pictures_end() {
    GstClockTime end = 0;
    bool sound_over = false;
    bool all = false;
    bool by_itself = false;  // num-buffers, or the application's
    {
        std::lock_guard lock(mutex_);
        // PipeWire's source has no other word for a node that went away.
        by_itself = !session_over_ && !kept_error_ && !endless_push_;
        pictures_ = by_itself ? Ended::by_itself : Ended::with_the_session;
        end = pictures_until_;
        sound_over = sound_over_;
        all = !stepped_sound_ || sound_over;
    }
    if (by_itself) {
        hooks_.pictures_ended(end);
        if (sound_over) {
            hooks_.sound_ended();
        }
        return GST_PAD_PROBE_OK;
    }
    // Whether it is the end of the stream depends on on-exit.
    if (all) {
        hooks_.capture_over();
    }
    return GST_PAD_PROBE_DROP;
}

GstPadProbeReturn LaunchStream::handle_sound_end() {
    bool all = false;
    {
        std::lock_guard lock(mutex_);
        if (pictures_ == Ended::by_itself) {
            return GST_PAD_PROBE_OK;
        }
        sound_over_ = true;
        all = pictures_ == Ended::with_the_session;
    }
    if (all) {
        hooks_.capture_over();
    }
    return GST_PAD_PROBE_DROP;
}

}  // namespace stepscope
