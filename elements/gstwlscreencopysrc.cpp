// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:element-wlscreencopysrc
 * @title: wlscreencopysrc
 * @short_description: captures a game that runs in a Stepscope session
 *
 * Source of the pictures that a game shows in a Stepscope session. Where the session's
 * compositor passes a picture through, buffers carry the very memory that the game drew into.
 * GstNavigation events from downstream become input of the game.
 *
 * With mode=lockstep it is not live: the game's time stands still, and each buffer is one step of
 * it, whose length is the period of the negotiated frame rate. The session must have been started
 * with
 * --lockstep.
 *
 * ## Example launch lines
 * |[
 * stepscope --session game -- supertux2 &
 * gst-launch-1.0 wlscreencopysrc session=game ! videoconvert ! autovideosink
 * ]| Shows the only running session, or the one named "game".
 * |[
 * gst-launch-1.0 -e wlscreencopysrc ! video/x-raw,framerate=60/1 ! videoconvert ! x264enc ! mp4mux
 * ! filesink location=game.mp4
 * ]| Records at a constant 60 frames per second, whatever the game's own rate is.
 * |[
 * gst-launch-1.0 wlscreencopysrc zero-copy=require num-buffers=600 ! fakesink sync=false
 * ]| Fails with the reason if a picture has to be composed or copied.
 * |[
 * gst-launch-1.0 wlscreencopysrc mode=lockstep num-buffers=600 ! video/x-raw,framerate=60/1
 * ! videoconvert ! x264enc ! mp4mux ! filesink location=game.mp4
 * ]| Records ten seconds of the game's time; the game waits for the encoder.
 *
 * Since: 0.1
 */

#include "gstwlscreencopysrc.h"

#include <gst/stepscope/stepscope.h>

#include "gst/element_error.hpp"
#include "gst/picture_caps.hpp"
#include "screencopy_capture.hpp"
#include "screencopy_properties.hpp"

GST_DEBUG_CATEGORY(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

using namespace stepscope;

namespace {

struct GstWlScreencopySrcPrivate {
    std::mutex mutex;  // guards what is below; never held while posting or waiting
    std::string session;
    CaptureSettings settings;
    CaptureMode mode = CaptureMode::live;
    StepSettings steps;  // for lock-step
    bool start_paused = false;

    bool pausing = false;  // within the base class's change from PLAYING to PAUSED

    CaptureStats stats;
    // From start() to stop(). Other threads keep the mutex while they use it.
    std::unique_ptr<ScreencopyCapture> capture;
};

}  // namespace

struct _GstWlScreencopySrc {
    GstPushSrc parent;

    GstWlScreencopySrcPrivate* priv;
};

G_DEFINE_FINAL_TYPE(GstWlScreencopySrc, gst_wl_screencopy_src, GST_TYPE_PUSH_SRC)
GST_ELEMENT_REGISTER_DEFINE_WITH_CODE(wlscreencopysrc, "wlscreencopysrc", GST_RANK_NONE,
                                      GST_TYPE_WL_SCREENCOPY_SRC,
                                      GST_DEBUG_CATEGORY_INIT(gst_wl_screencopy_src_debug,
                                                              "wlscreencopysrc", 0,
                                                              "capture of Stepscope sessions"))

#define parent_class gst_wl_screencopy_src_parent_class

static void gst_wl_screencopy_src_finalize(GObject* object) {
    auto* self = GST_WL_SCREENCOPY_SRC(object);
    delete self->priv;
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

static GstStructure* make_stats(const CaptureStats& stats) {
    static constexpr const char* kGates[] = {"none", "callbacks", "present"};
    return gst_structure_new(
        "application/x-wlscreencopysrc-stats", "frames", G_TYPE_UINT64, stats.frames.load(),
        "passed-through", G_TYPE_UINT64, stats.passed_through.load(), "composed", G_TYPE_UINT64,
        stats.composed.load(), "copied", G_TYPE_UINT64, stats.copied.load(), "dropped",
        G_TYPE_UINT64, stats.dropped.load(), "repeated", G_TYPE_UINT64, stats.repeated.load(),
        "imports", G_TYPE_UINT64, stats.imports.load(), "fences", G_TYPE_UINT64,
        stats.fences.load(), "fences-imported", G_TYPE_UINT64, stats.fences_imported.load(),
        "fences-waited", G_TYPE_UINT64, stats.fences_waited.load(), "steps", G_TYPE_UINT64,
        stats.steps.load(), "no-frame-steps", G_TYPE_UINT64, stats.no_frame_steps.load(), "gate",
        G_TYPE_STRING, kGates[stats.gate.load()], nullptr);
}

// Unset strings are empty inside and NULL outside.

static void set_string(std::string& target, const GValue* value) {
    const char* text = g_value_get_string(value);
    target = text != nullptr ? text : "";
}

static void get_string(const std::string& source, GValue* value) {
    g_value_set_string(value, source.empty() ? nullptr : source.c_str());
}

static void gst_wl_screencopy_src_set_property(GObject* object, guint id, const GValue* value,
                                               GParamSpec* spec) {
    auto* priv = GST_WL_SCREENCOPY_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SESSION:
            set_string(priv->session, value);
            break;
        case PROP_DISPLAY:
            set_string(priv->settings.display, value);
            break;
        case PROP_OUTPUT:
            set_string(priv->settings.output, value);
            break;
        case PROP_REGION:
            set_string(priv->settings.region, value);
            break;
        case PROP_CURSOR:
            priv->settings.cursor = static_cast<CursorMode>(g_value_get_enum(value));
            if (priv->capture) {
                priv->capture->set_cursor(priv->settings.cursor);
            }
            break;
        case PROP_ZERO_COPY:
            priv->settings.zero_copy = static_cast<ZeroCopy>(g_value_get_enum(value));
            break;
        case PROP_MAX_BUFFERS:
            priv->settings.max_buffers = g_value_get_uint(value);
            break;
        case PROP_MODE:
            priv->mode = static_cast<CaptureMode>(g_value_get_enum(value));
            break;
        case PROP_FRAMES_PER_STEP:
            priv->steps.frames_per_step = g_value_get_uint(value);
            break;
        case PROP_TIMEOUT:
            priv->steps.timeout_ms = g_value_get_uint(value);
            break;
        case PROP_ON_NO_FRAME:
            priv->steps.on_no_frame = static_cast<OnNoFrame>(g_value_get_enum(value));
            break;
        case PROP_START_PAUSED:
            priv->start_paused = g_value_get_boolean(value) != FALSE;
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static void gst_wl_screencopy_src_get_property(GObject* object, guint id, GValue* value,
                                               GParamSpec* spec) {
    auto* priv = GST_WL_SCREENCOPY_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SESSION:
            get_string(priv->session, value);
            break;
        case PROP_DISPLAY:
            get_string(priv->settings.display, value);
            break;
        case PROP_OUTPUT:
            get_string(priv->settings.output, value);
            break;
        case PROP_REGION:
            get_string(priv->settings.region, value);
            break;
        case PROP_CURSOR:
            g_value_set_enum(value, static_cast<int>(priv->settings.cursor));
            break;
        case PROP_ZERO_COPY:
            g_value_set_enum(value, static_cast<int>(priv->settings.zero_copy));
            break;
        case PROP_MAX_BUFFERS:
            g_value_set_uint(value, priv->settings.max_buffers);
            break;
        case PROP_MODE:
            g_value_set_enum(value, static_cast<int>(priv->mode));
            break;
        case PROP_FRAMES_PER_STEP:
            g_value_set_uint(value, priv->steps.frames_per_step);
            break;
        case PROP_TIMEOUT:
            g_value_set_uint(value, priv->steps.timeout_ms);
            break;
        case PROP_ON_NO_FRAME:
            g_value_set_enum(value, static_cast<int>(priv->steps.on_no_frame));
            break;
        case PROP_START_PAUSED:
            g_value_set_boolean(value, priv->start_paused);
            break;
        case PROP_STATS:
            g_value_take_boxed(value, make_stats(priv->stats));
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static gboolean gst_wl_screencopy_src_start(GstBaseSrc* base) {
    // Called on READY to PAUSED.
    auto* self = GST_WL_SCREENCOPY_SRC(base);
    auto* priv = self->priv;
    std::unique_lock lock(priv->mutex);
    const std::string session = priv->session;
    CaptureSettings settings = priv->settings;
    if (priv->mode == CaptureMode::lockstep) {
        settings.steps = priv->steps;
    }
    lock.unlock();

    reset(priv->stats);
    auto capture = ScreencopyCapture::connect(base, session, settings, priv->stats);
    if (!capture) {
        post_error(GST_ELEMENT(self), capture.error());
        return FALSE;
    }
    lock.lock();
    priv->capture = std::move(*capture);
    priv->capture->set_cursor(priv->settings.cursor);
    return TRUE;
}

static gboolean gst_wl_screencopy_src_stop(GstBaseSrc* base) {
    // Called on PAUSED to READY, when no other thread is in create() any more.
    auto* priv = GST_WL_SCREENCOPY_SRC(base)->priv;
    std::unique_ptr<ScreencopyCapture> capture;
    {
        std::lock_guard lock(priv->mutex);
        capture = std::move(priv->capture);
    }
    return TRUE;
}

static gboolean gst_wl_screencopy_src_unlock(GstBaseSrc* base) {
    auto* priv = GST_WL_SCREENCOPY_SRC(base)->priv;
    std::lock_guard lock(priv->mutex);
    // GstBaseSrc stops the task of a create() that returned FLUSHING for a pause, and may do so
    // after it has started the task for PLAYING again. So create() just stays where it is then.
    if (priv->capture && !priv->pausing) {
        priv->capture->set_flushing(true);
    }
    return TRUE;
}

static gboolean gst_wl_screencopy_src_unlock_stop(GstBaseSrc* base) {
    auto* priv = GST_WL_SCREENCOPY_SRC(base)->priv;
    std::lock_guard lock(priv->mutex);
    if (priv->capture) {
        priv->capture->set_flushing(false);
    }
    return TRUE;
}

static GstCaps* gst_wl_screencopy_src_get_caps(GstBaseSrc* base, GstCaps* filter) {
    auto* priv = GST_WL_SCREENCOPY_SRC(base)->priv;
    GstPtr<GstCaps> caps;
    {
        std::lock_guard lock(priv->mutex);
        caps = priv->capture ? priv->capture->caps() : picture_template_caps();
    }
    if (filter == nullptr) {
        return caps.release();
    }
    return gst_caps_intersect_full(filter, caps.get(), GST_CAPS_INTERSECT_FIRST);
}

static gboolean gst_wl_screencopy_src_negotiate(GstBaseSrc* base) {
    // Called by the streaming thread, before the first frame, on request of a peer, and by
    // create().
    return GST_WL_SCREENCOPY_SRC(base)->priv->capture->negotiate();
}

static gboolean gst_wl_screencopy_src_set_caps(GstBaseSrc* base, GstCaps* caps) {
    return GST_WL_SCREENCOPY_SRC(base)->priv->capture->set_caps(caps);
}

static gboolean gst_wl_screencopy_src_decide_allocation(GstBaseSrc* base, GstQuery* query) {
    auto& capture = *GST_WL_SCREENCOPY_SRC(base)->priv->capture;
    capture.use_memory(query);
    // A session's memory is its game's, and the base class needs to know of no other.
    while (gst_query_get_n_allocation_pools(query) > 0) {
        gst_query_remove_nth_allocation_pool(query, 0);
    }
    capture.set_peer_reads_video_meta(
        gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr));
    capture.set_peer_reads_fences(
        gst_query_find_allocation_meta(query, GST_STEPSCOPE_FENCE_META_API_TYPE, nullptr));
    return TRUE;
}

static gboolean gst_wl_screencopy_src_query(GstBaseSrc* base, GstQuery* query) {
    auto* priv = GST_WL_SCREENCOPY_SRC(base)->priv;
    if (GST_QUERY_TYPE(query) == GST_QUERY_LATENCY) {
        std::lock_guard lock(priv->mutex);
        if (!priv->capture) {
            return FALSE;
        }
        const CaptureLatency latency = priv->capture->latency();
        gst_query_set_latency(query, priv->capture->in_steps() ? FALSE : TRUE, latency.minimum,
                              latency.maximum);
        return TRUE;
    }
    return GST_BASE_SRC_CLASS(parent_class)->query(base, query);
}

static Result<void> inject(GstWlScreencopySrc* self, InputActions actions) {
    auto* priv = self->priv;
    std::lock_guard lock(priv->mutex);
    if (!priv->capture) {
        return fail(Fault::usage, "there is no game to send input to; start the element first");
    }
    return priv->capture->inject(std::move(actions));
}

/** For input that an application made: it should learn what is wrong with it. */
static gboolean inject_or_warn(GstWlScreencopySrc* self, Result<InputActions> actions) {
    auto injected = actions ? inject(self, std::move(*actions))
                            : Result<void>(std::unexpected(actions.error()));
    if (!injected) {
        gst_element_message_full(
            GST_ELEMENT(self), GST_MESSAGE_WARNING, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
            g_strdup(injected.error().message.c_str()), nullptr, __FILE__, __func__, __LINE__);
        return FALSE;
    }
    return TRUE;
}

static gboolean gst_wl_screencopy_src_send_input(GstWlScreencopySrc* self,
                                                 const GstStructure* input) {
    return inject_or_warn(self, parse_input(input));
}

static gboolean gst_wl_screencopy_src_event(GstBaseSrc* base, GstEvent* event) {
    auto* self = GST_WL_SCREENCOPY_SRC(base);
    if (GST_EVENT_TYPE(event) == GST_EVENT_CUSTOM_UPSTREAM &&
        gst_event_has_name(event, "stepscope-input")) {
        return inject_or_warn(self, parse_input_event(gst_event_get_structure(event)));
    }
    if (GST_EVENT_TYPE(event) != GST_EVENT_NAVIGATION) {
        return GST_BASE_SRC_CLASS(parent_class)->event(base, event);
    }
    InputActions actions = parse_navigation(event);
    if (actions.empty()) {
        return FALSE;
    }
    if (auto injected = inject(self, std::move(actions)); !injected) {
        GST_INFO_OBJECT(self, "input event not injected: %s", injected.error().message.c_str());
        return FALSE;
    }
    return TRUE;
}

static GstStateChangeReturn gst_wl_screencopy_src_change_state(GstElement* element,
                                                               GstStateChange transition) {
    auto* priv = GST_WL_SCREENCOPY_SRC(element)->priv;
    const bool live = gst_base_src_is_live(GST_BASE_SRC(element)) != FALSE;
    if (transition == GST_STATE_CHANGE_READY_TO_PAUSED) {
        std::lock_guard lock(priv->mutex);
        // With start-paused the base class must not wait for a first buffer either.
        gst_base_src_set_live(GST_BASE_SRC(element),
                              priv->mode == CaptureMode::live || priv->start_paused);
    } else if (transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED && live) {
        std::lock_guard lock(priv->mutex);
        priv->pausing = true;
        if (priv->capture) {
            priv->capture->pause();
        }
    } else if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) {
        std::lock_guard lock(priv->mutex);
        // Not only by unlock(): where PLAYING was brief, GstBaseSrc's streaming thread may be about
        // to call unlock_stop() for the pause before, and undo the unlock() that is to stop it.
        if (priv->capture) {
            priv->capture->end();
        }
    }
    const GstStateChangeReturn result =
        GST_ELEMENT_CLASS(parent_class)->change_state(element, transition);
    std::lock_guard lock(priv->mutex);
    priv->pausing = false;
    if (transition == GST_STATE_CHANGE_PAUSED_TO_PLAYING && priv->capture) {
        priv->capture->resume();
    }
    return result;
}

static GstFlowReturn gst_wl_screencopy_src_create(GstPushSrc* push, GstBuffer** buffer) {
    return GST_WL_SCREENCOPY_SRC(push)->priv->capture->create(buffer);
}

static void gst_wl_screencopy_src_class_init(GstWlScreencopySrcClass* klass) {
    auto* object_class = G_OBJECT_CLASS(klass);
    auto* element_class = GST_ELEMENT_CLASS(klass);
    auto* base_class = GST_BASE_SRC_CLASS(klass);
    auto* push_class = GST_PUSH_SRC_CLASS(klass);

    object_class->finalize = gst_wl_screencopy_src_finalize;
    object_class->set_property = gst_wl_screencopy_src_set_property;
    object_class->get_property = gst_wl_screencopy_src_get_property;
    install_capture_properties(object_class);

    /**
     * GstWlScreencopySrc::send-input:
     * @input: a #GstStructure that says what to do
     *
     * Sends input to the game; in lock-step it arrives with the step that begins next. The
     * structure is one of
     *
     * * `key`: `key` (string, name of an X keysym), `pressed` (boolean)
     * * `pointer-motion`: `x`, `y` (double, pixels of the picture)
     * * `pointer-relative`: `dx`, `dy` (double, pixels)
     * * `button`: `button` (uint: 1 left, 2 middle, 3 right, 4 to 7 wheel, 8 and 9 side), `pressed`
     * * `axis`: `dx`, `dy` (double, clicks of a wheel; positive is right and up)
     *
     * The upstream event `stepscope-input` (%GST_EVENT_CUSTOM_UPSTREAM) does the same; its
     * structure names the kind of input in the field `type`.
     *
     * Returns: %FALSE, with a warning message, if that is no input or the session can't do it
     *
     * Since: 0.1
     */
    g_signal_new_class_handler("send-input", G_TYPE_FROM_CLASS(klass),
                               static_cast<GSignalFlags>(G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION),
                               G_CALLBACK(gst_wl_screencopy_src_send_input), nullptr, nullptr,
                               nullptr, G_TYPE_BOOLEAN, 1, GST_TYPE_STRUCTURE);

    GstPtr<GstCaps> caps = picture_template_caps();
    gst_element_class_add_pad_template(
        element_class, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps.get()));
    gst_element_class_set_static_metadata(
        element_class, "Stepscope session source", "Source/Video",
        "Captures a game that runs in a Stepscope session, without copying where it can",
        "Stepscope developers");

    element_class->change_state = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_change_state);

    base_class->start = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_start);
    base_class->stop = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_stop);
    base_class->unlock = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_unlock);
    base_class->unlock_stop = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_unlock_stop);
    base_class->get_caps = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_get_caps);
    base_class->negotiate = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_negotiate);
    base_class->set_caps = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_set_caps);
    base_class->decide_allocation = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_decide_allocation);
    base_class->query = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_query);
    base_class->event = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_event);

    push_class->create = GST_DEBUG_FUNCPTR(gst_wl_screencopy_src_create);
}

static void gst_wl_screencopy_src_init(GstWlScreencopySrc* self) {
    self->priv = new GstWlScreencopySrcPrivate();
    gst_base_src_set_live(GST_BASE_SRC(self), TRUE);
    gst_base_src_set_format(GST_BASE_SRC(self), GST_FORMAT_TIME);
}
