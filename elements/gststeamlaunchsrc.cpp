// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:element-steamlaunchsrc
 * @title: steamlaunchsrc
 * @short_description: starts a Steam title, or any command, and captures it
 *
 * Starts a title or command in a Stepscope session of its own and is the source of its pictures.
 * What happens on the way is told by element messages named `steamlaunch-progress`.
 *
 * The inner source is a child named `video-source` (wlscreencopysrc), all of whose properties can
 * be set by GstChildProxy: `steamlaunchsrc video-source::max-buffers=8`.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 steamlaunchsrc app-id=620 ! videoconvert ! autovideosink
 * ]| Starts Portal 2 by a Steam client of its own and shows it.
 * |[
 * gst-launch-1.0 -e steamlaunchsrc command="supertux2 --geometry 1280x720" !
 * video/x-raw,framerate=60/1 ! videoconvert ! x264enc ! mp4mux ! filesink location=game.mp4
 * ]| Records a game that is not Steam's.
 * |[
 * gst-launch-1.0 playbin uri=steam://run/620
 * ]|
 *
 * Since: 0.1
 */

#include "gststeamlaunchsrc.h"

#include <mutex>

#include "gst/element_error.hpp"
#include "gst/gst_ptr.hpp"
#include "gst/picture_caps.hpp"
#include "gstwlscreencopysrc.h"
#include "launch_pads.hpp"
#include "launch_sources.hpp"
#include "launch_stream.hpp"
#include "launch_tags.hpp"
#include "screencopy_properties.hpp"
#include "steam_launch_properties.hpp"
#include "steam_uri.hpp"
#include "title_launcher.hpp"

GST_DEBUG_CATEGORY_STATIC(gst_steam_launch_src_debug);
#define GST_CAT_DEFAULT gst_steam_launch_src_debug

using namespace stepscope;

namespace {

struct GstSteamLaunchSrcPrivate {
    std::mutex mutex;  // guards what is below; never held while posting, pushing or waiting
    LaunchProperties properties;
    std::string uri;

    GstPad* pad = nullptr;        // "video", a ghost pad, the bin's
    GstPad* sound = nullptr;      // "audio", likewise; may be null
    GstElement* video = nullptr;  // wlscreencopysrc, the sources'
    std::unique_ptr<LaunchSources> sources;
    std::unique_ptr<LaunchStream> stream;
    std::unique_ptr<TitleLauncher> launcher;
};

}  // namespace

struct _GstSteamLaunchSrc {
    GstBin parent;

    GstSteamLaunchSrcPrivate* priv;
};

static void gst_steam_launch_src_uri_handler_init(gpointer interface, gpointer data);

G_DEFINE_FINAL_TYPE_WITH_CODE(GstSteamLaunchSrc, gst_steam_launch_src, GST_TYPE_BIN,
                              G_IMPLEMENT_INTERFACE(GST_TYPE_URI_HANDLER,
                                                    gst_steam_launch_src_uri_handler_init))
GST_ELEMENT_REGISTER_DEFINE_WITH_CODE(steamlaunchsrc, "steamlaunchsrc", GST_RANK_PRIMARY,
                                      GST_TYPE_STEAM_LAUNCH_SRC,
                                      GST_DEBUG_CATEGORY_INIT(gst_steam_launch_src_debug,
                                                              "steamlaunchsrc", 0,
                                                              "starts and captures titles"))

#define parent_class gst_steam_launch_src_parent_class

static CaptureMode mode_of(GstSteamLaunchSrc* self) {
    gint mode = 0;
    g_object_get(self->priv->video, "mode", &mode, nullptr);
    return static_cast<CaptureMode>(mode);
}

static bool is_live(GstSteamLaunchSrc* self) {
    gboolean start_paused = FALSE;
    g_object_get(self->priv->video, "start-paused", &start_paused, nullptr);
    return mode_of(self) == CaptureMode::live || start_paused;
}

static GstPtr<GstPad> sound_pad(GstSteamLaunchSrc* self) {
    std::lock_guard lock(self->priv->mutex);
    return GstPtr<GstPad>(self->priv->sound != nullptr ? GST_PAD(gst_object_ref(self->priv->sound))
                                                       : nullptr);
}

static void push_end_of_sound(GstSteamLaunchSrc* self) {
    if (GstPtr<GstPad> sound = sound_pad(self)) {
        push_eos(GST_ELEMENT(self), sound.get());
    }
}

static void end_stream(GstSteamLaunchSrc* self) {
    push_eos(GST_ELEMENT(self), self->priv->pad);
    push_end_of_sound(self);
}

// The launcher's hooks: on its thread.

static void start_capture(GstSteamLaunchSrc* self, const std::string& session) {
    auto* priv = self->priv;
    priv->stream->begin_attempt();
    CaptureBy capture = CaptureBy::pull;
    {
        std::lock_guard lock(priv->mutex);
        capture = priv->properties.capture;
    }
    if (!priv->launcher->stopping()) {
        priv->sources->start(session, capture, is_live(self) ? 0 : priv->stream->offset());
    }
}

static void fail_launch(GstSteamLaunchSrc* self, const Error& error, const std::string& debug) {
    if (!self->priv->launcher->stopping()) {
        post_error(GST_ELEMENT(self), error, debug);
    }
}

static void fail_capture(GstSteamLaunchSrc* self) {
    GstPtr<GstMessage> message = self->priv->stream->take_error();
    if (message && !self->priv->launcher->stopping()) {
        if (self->priv->sources->speaks_for_itself(message.get())) {
            gst_element_post_message(GST_ELEMENT(self), message.release());
        } else {
            post_error(GST_ELEMENT(self), LaunchSources::explain(message.get()));
        }
    }
}

static void post_progress(GstSteamLaunchSrc* self, GstPtr<GstStructure> structure) {
    GST_INFO_OBJECT(self, "%" GST_PTR_FORMAT, static_cast<void*>(structure.get()));
    gst_element_post_message(GST_ELEMENT(self),
                             gst_message_new_element(GST_OBJECT(self), structure.release()));
}

static void log_output(GstSteamLaunchSrc* self, const std::string& line) {
    GST_DEBUG_OBJECT(self, "output: %s", line.c_str());
}

static LauncherHooks launcher_hooks(GstSteamLaunchSrc* self) {
    LauncherHooks hooks;
    hooks.attempt.progress = [self](GstPtr<GstStructure> structure) {
        post_progress(self, std::move(structure));
    };
    hooks.attempt.planned = [self](const LaunchPlan& plan) {
        self->priv->stream->set_tags(make_launch_tags(plan));
    };
    hooks.attempt.start_capture = [self](const std::string& session) {
        start_capture(self, session);
    };
    hooks.attempt.output = [self](const std::string& line) { log_output(self, line); };
    hooks.stop_capture = [self] { self->priv->sources->stop(); };
    hooks.end_of_stream = [self] { end_stream(self); };
    hooks.fail = [self](const Error& error, const std::string& debug) {
        fail_launch(self, error, debug);
    };
    hooks.fail_capture = [self] { fail_capture(self); };
    return hooks;
}

static LaunchStream::Hooks stream_hooks(GstSteamLaunchSrc* self) {
    return {
        .first_frame = [self] { self->priv->launcher->notify_first_frame(); },
        .capture_over = [self] { self->priv->launcher->notify_capture_over(); },
        .pictures_ended = [self](GstClockTime end) { self->priv->sources->end_sound(end); },
        .sound_ended = [self] { push_end_of_sound(self); },
    };
}

static void gst_steam_launch_src_handle_message(GstBin* bin, GstMessage* message) {
    auto* self = GST_STEAM_LAUNCH_SRC(bin);
    auto* priv = self->priv;
    // Also of what is inside the sources.
    if (GST_MESSAGE_SRC(message) != GST_OBJECT(self)) {
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
            // If the session has ended, that is what there is to say, and not here.
            priv->stream->keep_error(message);
            priv->launcher->notify_capture_over();
            return;
        }
        if (gst_message_has_name(message, "stepscope-ended")) {
            priv->stream->note_session_over();
            priv->launcher->notify_session_over();
        }
    }
    GST_BIN_CLASS(parent_class)->handle_message(bin, message);
}

static gboolean gst_steam_launch_src_send_event(GstElement* element, GstEvent* event) {
    auto* self = GST_STEAM_LAUNCH_SRC(element);
    // Without a capture nobody else would ever end the stream. Not from here: our parent's state is
    // locked, and a sink without a picture waits for a change of it before it takes the end.
    if (GST_EVENT_TYPE(event) == GST_EVENT_EOS && !self->priv->sources->started()) {
        gst_event_unref(event);
        self->priv->launcher->request_end_of_stream();
        return TRUE;
    }
    // The sound of the last step is still to come.
    if (GST_EVENT_TYPE(event) == GST_EVENT_EOS && self->priv->sources->sound_is_stepped()) {
        return gst_element_send_event(self->priv->video, event);
    }
    return GST_ELEMENT_CLASS(parent_class)->send_event(element, event);
}

static Result<void> start_launcher(GstSteamLaunchSrc* self) {
    auto* priv = self->priv;
    LaunchSettings settings;
    CaptureBy capture = CaptureBy::pull;
    {
        std::lock_guard lock(priv->mutex);
        settings = priv->properties.settings;
        capture = priv->properties.capture;
    }
    settings.lockstep = mode_of(self) == CaptureMode::lockstep;
    settings.sound = priv->sources->has_sound();
    settings.pipewire = capture == CaptureBy::push || (settings.sound && !settings.lockstep);
    if (settings.lockstep && settings.pipewire) {
        return fail(Fault::usage,
                    "mode=lockstep can be with capture=pull only: PipeWire's time does not stand "
                    "still");
    }
    auto pad = priv->sources->video_pad(capture);
    if (!pad) {
        return std::unexpected(pad.error());
    }
    priv->stream->follow_pictures(pad->get());
    gst_ghost_pad_set_target(GST_GHOST_PAD(priv->pad), pad->get());
    if (GstPtr<GstPad> sound = sound_pad(self)) {
        auto inner = priv->sources->sound_pad(settings.lockstep);
        if (!inner) {
            return std::unexpected(inner.error());
        }
        if (settings.lockstep) {
            priv->stream->follow_sound(inner->get());
        }
        gst_ghost_pad_set_target(GST_GHOST_PAD(sound.get()), inner->get());
    }
    gint buffers = -1;
    g_object_get(priv->video, "num-buffers", &buffers, nullptr);
    priv->stream->begin(capture == CaptureBy::push && buffers < 0,
                        settings.sound && settings.lockstep);
    apply_peer_caps(priv->pad, settings);
    priv->launcher->start(settings);
    return {};
}

static GstStateChangeReturn gst_steam_launch_src_change_state(GstElement* element,
                                                              GstStateChange transition) {
    auto* self = GST_STEAM_LAUNCH_SRC(element);
    auto* priv = self->priv;
    switch (transition) {
        case GST_STATE_CHANGE_READY_TO_PAUSED:
            if (auto started = start_launcher(self); !started) {
                post_error(element, started.error());
                return GST_STATE_CHANGE_FAILURE;
            }
            break;
        case GST_STATE_CHANGE_PAUSED_TO_READY:
            priv->launcher->request_stop();
            break;
        default:
            break;
    }
    GstStateChangeReturn result =
        GST_ELEMENT_CLASS(parent_class)->change_state(element, transition);
    switch (transition) {
        case GST_STATE_CHANGE_READY_TO_PAUSED:
            if (result == GST_STATE_CHANGE_FAILURE) {
                priv->launcher->stop();
            }
            [[fallthrough]];
        case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
            // Nothing comes for a preroll, whether the inner source is there yet or not.
            if (result == GST_STATE_CHANGE_SUCCESS && is_live(self)) {
                result = GST_STATE_CHANGE_NO_PREROLL;
            }
            break;
        case GST_STATE_CHANGE_PAUSED_TO_READY:
            // The inner source lets go of the session before the session goes.
            priv->sources->stop();
            priv->launcher->stop();
            priv->sources->stop();
            break;
        case GST_STATE_CHANGE_READY_TO_NULL:
            priv->sources->close();
            break;
        default:
            break;
    }
    return result;
}

static GstPad* gst_steam_launch_src_request_new_pad(GstElement* element,
                                                    GstPadTemplate* pad_template,
                                                    const gchar* /*name*/,
                                                    const GstCaps* /*caps*/) {
    auto* self = GST_STEAM_LAUNCH_SRC(element);
    auto* priv = self->priv;
    if (GST_STATE(element) > GST_STATE_READY) {
        post_error(element,
                   {Fault::usage, "the audio pad can be requested in NULL and READY only"});
        return nullptr;
    }
    if (auto wanted = priv->sources->request_sound(); !wanted) {
        post_error(element, wanted.error());
        return nullptr;
    }
    // What it leads to depends on the mode.
    GstPad* pad = gst_ghost_pad_new_no_target_from_template("audio", pad_template);
    gst_element_add_pad(element, pad);
    std::lock_guard lock(priv->mutex);
    priv->sound = pad;
    return pad;
}

static void gst_steam_launch_src_release_pad(GstElement* element, GstPad* pad) {
    auto* priv = GST_STEAM_LAUNCH_SRC(element)->priv;
    {
        std::lock_guard lock(priv->mutex);
        priv->sound = nullptr;
    }
    gst_element_remove_pad(element, pad);
    priv->sources->remove_sound();
}

static void gst_steam_launch_src_set_property(GObject* object, guint id, const GValue* value,
                                              GParamSpec* spec) {
    auto* priv = GST_STEAM_LAUNCH_SRC(object)->priv;
    if (const char* inner = passed_on_property(id)) {
        g_object_set_property(G_OBJECT(priv->video), inner, value);
        return;
    }
    std::lock_guard lock(priv->mutex);
    if (!set_launch_property(priv->properties, id, value)) {
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void gst_steam_launch_src_get_property(GObject* object, guint id, GValue* value,
                                              GParamSpec* spec) {
    auto* priv = GST_STEAM_LAUNCH_SRC(object)->priv;
    if (const char* inner = passed_on_property(id)) {
        g_object_get_property(G_OBJECT(priv->video), inner, value);
        return;
    }
    std::lock_guard lock(priv->mutex);
    if (!get_launch_property(priv->properties, id, value)) {
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void gst_steam_launch_src_finalize(GObject* object) {
    auto* self = GST_STEAM_LAUNCH_SRC(object);
    delete self->priv;
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

static GstURIType uri_type(GType /*type*/) {
    return GST_URI_SRC;
}

static const gchar* const* uri_protocols(GType /*type*/) {
    static const gchar* const protocols[] = {"steam", nullptr};
    return protocols;
}

static gchar* uri_get(GstURIHandler* handler) {
    auto* priv = GST_STEAM_LAUNCH_SRC(handler)->priv;
    std::lock_guard lock(priv->mutex);
    return priv->uri.empty() ? nullptr : g_strdup(priv->uri.c_str());
}

static gboolean uri_set(GstURIHandler* handler, const gchar* uri, GError** error) {
    auto* self = GST_STEAM_LAUNCH_SRC(handler);
    auto* priv = self->priv;
    if (GST_STATE(self) > GST_STATE_READY) {
        g_set_error_literal(error, GST_URI_ERROR, GST_URI_ERROR_BAD_STATE,
                            "the title can't be changed while it runs; go to READY first");
        return FALSE;
    }
    auto parsed = parse_steam_uri(uri);
    if (!parsed) {
        g_set_error_literal(error, GST_URI_ERROR, GST_URI_ERROR_BAD_URI,
                            parsed.error().message.c_str());
        return FALSE;
    }
    std::lock_guard lock(priv->mutex);
    priv->uri = uri;
    priv->properties.settings.app_id = parsed->app_id;
    priv->properties.settings.args = parsed->arguments;
    return TRUE;
}

static void gst_steam_launch_src_uri_handler_init(gpointer interface, gpointer /*data*/) {
    auto* handler = static_cast<GstURIHandlerInterface*>(interface);
    handler->get_type = uri_type;
    handler->get_protocols = uri_protocols;
    handler->get_uri = uri_get;
    handler->set_uri = uri_set;
}

static void gst_steam_launch_src_class_init(GstSteamLaunchSrcClass* klass) {
    auto* object_class = G_OBJECT_CLASS(klass);
    auto* element_class = GST_ELEMENT_CLASS(klass);
    auto* bin_class = GST_BIN_CLASS(klass);

    object_class->finalize = gst_steam_launch_src_finalize;
    object_class->set_property = gst_steam_launch_src_set_property;
    object_class->get_property = gst_steam_launch_src_get_property;
    install_launch_properties(object_class);
    register_launch_tags();

    GstPtr<GstCaps> caps = picture_template_caps();
    gst_element_class_add_pad_template(
        element_class, gst_pad_template_new("video", GST_PAD_SRC, GST_PAD_ALWAYS, caps.get()));
    GstPtr<GstCaps> sound(gst_caps_new_empty_simple("audio/x-raw"));
    gst_element_class_add_pad_template(
        element_class, gst_pad_template_new("audio", GST_PAD_SRC, GST_PAD_REQUEST, sound.get()));
    gst_element_class_set_static_metadata(
        element_class, "Steam title source", "Source/Video",
        "Starts a Steam title, or any command, in a Stepscope session and captures it",
        "Stepscope developers");

    element_class->change_state = GST_DEBUG_FUNCPTR(gst_steam_launch_src_change_state);
    element_class->request_new_pad = GST_DEBUG_FUNCPTR(gst_steam_launch_src_request_new_pad);
    element_class->release_pad = GST_DEBUG_FUNCPTR(gst_steam_launch_src_release_pad);
    element_class->send_event = GST_DEBUG_FUNCPTR(gst_steam_launch_src_send_event);
    bin_class->handle_message = GST_DEBUG_FUNCPTR(gst_steam_launch_src_handle_message);
}

static void gst_steam_launch_src_init(GstSteamLaunchSrc* self) {
    auto* priv = self->priv = new GstSteamLaunchSrcPrivate();
    priv->launcher = std::make_unique<TitleLauncher>(launcher_hooks(self));
    priv->sources = std::make_unique<LaunchSources>(GST_BIN(self));
    priv->stream = std::make_unique<LaunchStream>(stream_hooks(self));
    priv->video = priv->sources->video();
    GstPtr<GstPad> inner(gst_element_get_static_pad(priv->video, "src"));
    priv->stream->follow_pictures(inner.get());
    GstPadTemplate* pad_template =
        gst_element_class_get_pad_template(GST_ELEMENT_GET_CLASS(self), "video");
    priv->pad = gst_ghost_pad_new_from_template("video", inner.get(), pad_template);
    gst_element_add_pad(GST_ELEMENT(self), priv->pad);
}
