// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_sources.hpp"

#include <format>
#include <utility>

#include "gststepsoundsrc.h"
#include "gstwlscreencopysrc.h"

namespace stepscope {
namespace {

constexpr const char* kPushed = "pushed-source";
constexpr const char* kSound = "sound-source";

/** Node of a session, as the compositor names it. */
std::string node_of(const std::string& session) {
    return "stepscope." + session;
}

void set_target(GstElement* source, const std::string& node) {
    GstPtr<GstElement> inner(gst_bin_get_by_name(GST_BIN(source), "pipewire"));
    g_object_set(inner.get(), "target-object", node.c_str(), nullptr);
}

void set_offset(GstElement* source, GstClockTimeDiff offset) {
    GstPtr<GstPad> pad(gst_element_get_static_pad(source, "src"));
    gst_pad_set_offset(pad.get(), offset);
}

}  // namespace

LaunchSources::LaunchSources(GstBin* bin) : bin_(bin) {
    video_ = static_cast<GstElement*>(
        g_object_new(GST_TYPE_WL_SCREENCOPY_SRC, "name", "video-source", nullptr));
    gst_bin_add(bin_, video_);
    gst_element_set_locked_state(video_, TRUE);
}

Result<GstElement*> LaunchSources::make_pipewire(const char* name, const char* caps,
                                                 const char* stream_properties) {
    const std::string line =
        std::format("pipewiresrc name=pipewire {} ! capsfilter caps={}",
                    stream_properties != nullptr ? stream_properties : "", caps);
    GError* error = nullptr;
    GstElement* source = gst_parse_bin_from_description_full(line.c_str(), TRUE, nullptr,
                                                             GST_PARSE_FLAG_FATAL_ERRORS, &error);
    if (error != nullptr) {
        std::string reason = error->message;
        g_error_free(error);
        return fail(Fault::unsupported,
                    std::format("this needs the element pipewiresrc: {}; install PipeWire's plugin "
                                "for GStreamer",
                                reason));
    }
    gst_object_set_name(GST_OBJECT(source), name);
    gst_element_set_locked_state(source, TRUE);
    gst_bin_add(bin_, source);
    return source;
}

Result<GstPtr<GstPad>> LaunchSources::video_pad(CaptureBy capture) {
    if (capture == CaptureBy::pull) {
        return GstPtr<GstPad>(gst_element_get_static_pad(video_, "src"));
    }
    std::lock_guard lock(mutex_);
    if (pushed_ == nullptr) {
        auto made = make_pipewire(kPushed, "video/x-raw", nullptr);
        if (!made) {
            return fail(made.error().fault, "capture=push: " + made.error().message);
        }
        pushed_ = *made;
    }
    return GstPtr<GstPad>(gst_element_get_static_pad(pushed_, "src"));
}

Result<void> LaunchSources::request_sound() {
    std::lock_guard lock(mutex_);
    if (std::exchange(sound_wanted_, true)) {
        return fail(Fault::busy, "there is one audio pad");
    }
    return {};
}

Result<GstPtr<GstPad>> LaunchSources::sound_pad(bool lockstep) {
    std::unique_lock lock(mutex_);
    if (sound_ && sound_stepped_ != lockstep) {
        lock.unlock();
        drop_sound();
        lock.lock();
    }
    if (!sound_ && lockstep) {
        sound_.reset(static_cast<GstElement*>(
            gst_object_ref_sink(g_object_new(GST_TYPE_STEP_SOUND_SRC, "name", kSound, nullptr))));
        gst_element_set_locked_state(sound_.get(), TRUE);
        gst_bin_add(bin_, sound_.get());
    } else if (!sound_) {
        // What is played to the session's sink, not what the sink would play.
        auto made = make_pipewire(kSound, "audio/x-raw",
                                  "stream-properties=props,stream.capture.sink=true");
        if (!made) {
            return fail(made.error().fault, "the audio pad: " + made.error().message);
        }
        sound_.reset(GST_ELEMENT(gst_object_ref(*made)));
    }
    sound_stepped_ = lockstep;
    return GstPtr<GstPad>(gst_element_get_static_pad(sound_.get(), "src"));
}

void LaunchSources::drop_sound() {
    GstPtr<GstElement> sound;
    {
        std::lock_guard lock(mutex_);
        sound = std::move(sound_);
    }
    if (sound) {
        stop_one(sound.get(), GST_STATE_NULL);
        // A bin that is disposed of has no children any more when it lets go of its pads.
        if (gst_object_has_as_parent(GST_OBJECT(sound.get()), GST_OBJECT(bin_)) != FALSE) {
            gst_bin_remove(bin_, sound.get());
        }
    }
}

void LaunchSources::remove_sound() {
    {
        std::lock_guard lock(mutex_);
        sound_wanted_ = false;
    }
    drop_sound();
}

GstPtr<GstElement> LaunchSources::running_sound() const {
    std::lock_guard lock(mutex_);
    return GstPtr<GstElement>(sound_ ? GST_ELEMENT(gst_object_ref(sound_.get())) : nullptr);
}

void LaunchSources::end_sound(GstClockTime end) {
    GstPtr<GstElement> sound = running_sound();
    if (!sound) {
        return;
    }
    // A stepped one without an end would go on until somebody makes another step.
    if (sound_is_stepped() && end > 0) {
        g_object_set(sound.get(), "duration", guint64{end}, nullptr);
    } else {
        gst_element_send_event(sound.get(), gst_event_new_eos());
    }
}

bool LaunchSources::has_sound() const {
    std::lock_guard lock(mutex_);
    return sound_wanted_;
}

bool LaunchSources::sound_is_stepped() const {
    std::lock_guard lock(mutex_);
    return sound_ && sound_stepped_;
}

bool LaunchSources::speaks_for_itself(GstMessage* error) const {
    std::lock_guard lock(mutex_);
    const GstObject* source = GST_MESSAGE_SRC(error);
    return source == GST_OBJECT(video_) ||
           (sound_stepped_ && source == GST_OBJECT_CAST(sound_.get()));
}

std::vector<GstElement*> LaunchSources::all() const {
    std::lock_guard lock(mutex_);
    std::vector<GstElement*> elements{video_};
    for (GstElement* element : {pushed_, sound_.get()}) {
        if (element != nullptr) {
            elements.push_back(element);
        }
    }
    return elements;
}

void LaunchSources::start_one(GstElement* element) {
    // The bin did so only for children that took part in its own change of state.
    gst_element_set_base_time(element, gst_element_get_base_time(GST_ELEMENT(bin_)));
    gst_element_set_start_time(element, gst_element_get_start_time(GST_ELEMENT(bin_)));
    gst_element_set_locked_state(element, FALSE);
    if (!gst_element_sync_state_with_parent(element)) {
        // Its error is kept back. A failed child would make the bin's next change fail, too.
        stop_one(element, GST_STATE_NULL);
    }
}

void LaunchSources::start(const std::string& session, CaptureBy capture, GstClockTimeDiff offset) {
    GstElement* pushed = nullptr;
    GstElement* sound = nullptr;
    bool stepped = false;
    {
        std::lock_guard lock(mutex_);
        pushed = capture == CaptureBy::push ? pushed_ : nullptr;
        sound = sound_.get();
        stepped = sound_stepped_;
    }
    pipewire_started_ = pushed != nullptr || (sound != nullptr && !stepped);
    if (sound != nullptr && stepped) {
        // Before the pictures: it begins with the first step.
        g_object_set(sound, "session", session.c_str(), "duration", guint64{0}, nullptr);
        set_offset(sound, offset);
        start_one(sound);
    } else if (sound != nullptr) {
        set_target(sound, node_of(session) + ".sound");
        start_one(sound);
    }
    if (pushed != nullptr) {
        set_target(pushed, node_of(session));
        GstPtr<GstElement> inner(gst_bin_get_by_name(GST_BIN(pushed), "pipewire"));
        gint buffers = -1;
        g_object_get(video_, "num-buffers", &buffers, nullptr);
        g_object_set(inner.get(), "num-buffers", buffers, nullptr);
        start_one(pushed);
    } else {
        g_object_set(video_, "session", session.c_str(), nullptr);
        set_offset(video_, offset);
        start_one(video_);
    }
}

void LaunchSources::stop_one(GstElement* element, GstState state) {
    // Locked first: a change of the bin's state must not wait for this one, which may have to wait
    // until downstream takes its last buffer.
    gst_element_set_locked_state(element, TRUE);
    gst_element_set_state(element, state);
}

void LaunchSources::stop() {
    pipewire_started_ = false;
    for (GstElement* element : all()) {
        // In READY, PipeWire's source keeps its connection, and with it what went wrong.
        stop_one(element, element == video_ ? GST_STATE_READY : GST_STATE_NULL);
    }
}

Error LaunchSources::explain(GstMessage* message) {
    GError* error = nullptr;
    gst_message_parse_error(message, &error, nullptr);
    const std::string text = error->message;
    g_error_free(error);
    return {Fault::gone,
            std::format("PipeWire's source failed: {}; see that PipeWire and a session manager run "
                        "(pw-cli info), or use capture=pull without the audio pad",
                        text),
            0};
}

void LaunchSources::close() {
    for (GstElement* element : all()) {
        stop_one(element, GST_STATE_NULL);
    }
}

}  // namespace stepscope
