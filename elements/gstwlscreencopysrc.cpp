// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:element-wlscreencopysrc
 * @title: wlscreencopysrc
 * @short_description: captures a game that runs in a Stepscope session
 *
 * Live source of the pictures that a game shows in a Stepscope session. Where the session's
 * compositor passes a picture through, buffers carry the very memory that the game drew into.
 * GstNavigation events from downstream become input of the game.
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
 *
 * Since: 0.1
 */

#include "gstwlscreencopysrc.h"

#include <gst/stepscope/stepscope.h>

#include "gst/element_error.hpp"
#include "gst/picture_caps.hpp"
#include "navigation.hpp"
#include "screencopy_capture.hpp"

GST_DEBUG_CATEGORY(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

using namespace stepscope;

namespace {

constexpr guint kDefaultMaxBuffers = 4;
constexpr guint kMaxMaxBuffers = 256;

enum {
    PROP_0,
    PROP_SESSION,
    PROP_CURSOR,
    PROP_ZERO_COPY,
    PROP_MAX_BUFFERS,
    PROP_STATS,
};

GType cursor_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstWlScreencopySrcCursor::hidden:
             *
             * Since: 0.1
             */
            {static_cast<int>(CursorMode::hidden), "The cursor is not in the picture", "hidden"},
            /**
             * GstWlScreencopySrcCursor::embedded:
             *
             * Since: 0.1
             */
            {static_cast<int>(CursorMode::embedded),
             "Drawn into the picture where the game shows one; costs a render pass", "embedded"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstWlScreencopySrcCursor", values);
    }();
    return type;
}

GType zero_copy_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstWlScreencopySrcZeroCopy::require:
             *
             * Since: 0.1
             */
            {static_cast<int>(ZeroCopy::require),
             "Only pictures that passed through; fail with the reason on any other", "require"},
            /**
             * GstWlScreencopySrcZeroCopy::prefer:
             *
             * Since: 0.1
             */
            {static_cast<int>(ZeroCopy::prefer),
             "Pictures as they come; a message tells when their way changes", "prefer"},
            /**
             * GstWlScreencopySrcZeroCopy::off:
             *
             * Since: 0.1
             */
            {static_cast<int>(ZeroCopy::off),
             "Copy each picture into plain memory and let the game's go at once", "off"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstWlScreencopySrcZeroCopy", values);
    }();
    return type;
}

struct GstWlScreencopySrcPrivate {
    std::mutex mutex;  // guards what is below; never held while posting or waiting
    std::string session;
    CaptureSettings settings{CursorMode::hidden, ZeroCopy::prefer, kDefaultMaxBuffers};

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
    return gst_structure_new(
        "application/x-wlscreencopysrc-stats", "frames", G_TYPE_UINT64, stats.frames.load(),
        "passed-through", G_TYPE_UINT64, stats.passed_through.load(), "composed", G_TYPE_UINT64,
        stats.composed.load(), "copied", G_TYPE_UINT64, stats.copied.load(), "dropped",
        G_TYPE_UINT64, stats.dropped.load(), "repeated", G_TYPE_UINT64, stats.repeated.load(),
        "imports", G_TYPE_UINT64, stats.imports.load(), nullptr);
}

static void gst_wl_screencopy_src_set_property(GObject* object, guint id, const GValue* value,
                                               GParamSpec* spec) {
    auto* priv = GST_WL_SCREENCOPY_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SESSION: {
            const char* name = g_value_get_string(value);
            priv->session = name != nullptr ? name : "";
            break;
        }
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
            g_value_set_string(value, priv->session.empty() ? nullptr : priv->session.c_str());
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
    const CaptureSettings settings = priv->settings;
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
    // The memory is the session's: pools of others are of no use.
    while (gst_query_get_n_allocation_pools(query) > 0) {
        gst_query_remove_nth_allocation_pool(query, 0);
    }
    GST_WL_SCREENCOPY_SRC(base)->priv->capture->set_peer_reads_video_meta(
        gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr));
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
        gst_query_set_latency(query, TRUE, latency.minimum, latency.maximum);
        return TRUE;
    }
    return GST_BASE_SRC_CLASS(parent_class)->query(base, query);
}

static gboolean gst_wl_screencopy_src_event(GstBaseSrc* base, GstEvent* event) {
    auto* self = GST_WL_SCREENCOPY_SRC(base);
    auto* priv = self->priv;
    if (GST_EVENT_TYPE(event) != GST_EVENT_NAVIGATION) {
        return GST_BASE_SRC_CLASS(parent_class)->event(base, event);
    }
    std::unique_lock lock(priv->mutex);
    if (!priv->capture) {
        return FALSE;
    }
    auto injected = priv->capture->inject(event);
    lock.unlock();
    if (!injected) {
        GST_INFO_OBJECT(self, "input event not injected: %s", injected.error().message.c_str());
        return FALSE;
    }
    return *injected;
}

static GstStateChangeReturn gst_wl_screencopy_src_change_state(GstElement* element,
                                                               GstStateChange transition) {
    auto* priv = GST_WL_SCREENCOPY_SRC(element)->priv;
    if (transition == GST_STATE_CHANGE_PLAYING_TO_PAUSED) {
        std::lock_guard lock(priv->mutex);
        priv->pausing = true;
        if (priv->capture) {
            priv->capture->pause();
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

static void install_properties(GObjectClass* object_class) {
    constexpr auto kReady = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                     GST_PARAM_MUTABLE_READY);
    constexpr auto kPlaying = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                       GST_PARAM_MUTABLE_PLAYING);

    /**
     * GstWlScreencopySrc:session:
     *
     * Name of the session to capture. Unset: the value of the environment variable
     * STEPSCOPE_SESSION, else the only session that runs.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_SESSION,
        g_param_spec_string("session", "Session",
                            "Name of the session to capture (unset = $STEPSCOPE_SESSION, else the "
                            "only one that runs)",
                            nullptr, kReady));

    /**
     * GstWlScreencopySrc:cursor:
     *
     * Whether the game's cursor is in the picture.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_CURSOR,
        g_param_spec_enum("cursor", "Cursor", "Whether the game's cursor is in the picture",
                          cursor_type(), static_cast<int>(CursorMode::hidden), kPlaying));

    /**
     * GstWlScreencopySrc:zero-copy:
     *
     * What to do about pictures that the compositor could not pass through.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_ZERO_COPY,
        g_param_spec_enum("zero-copy", "Zero copy",
                          "What to do about pictures that the compositor could not pass through",
                          zero_copy_type(), static_cast<int>(ZeroCopy::prefer), kReady));

    /**
     * GstWlScreencopySrc:max-buffers:
     *
     * Frames that may be in flight downstream. Once as many are held, the session keeps its newest
     * picture back until one is let go. Sinks hold their last buffer: with 1, set
     * enable-last-sample=false on them.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_MAX_BUFFERS,
        g_param_spec_uint("max-buffers", "Maximum buffers",
                          "Frames that may be held downstream at a time (frames)", 1,
                          kMaxMaxBuffers, kDefaultMaxBuffers, kReady));

    /**
     * GstWlScreencopySrc:stats:
     *
     * Counters since the start of the capture, all of type #guint64:
     *
     * * `frames`: buffers pushed, repeated ones included
     * * `passed-through`, `composed`, `copied`: how the pictures of those that were not repeated
     * got into their memory
     * * `dropped`: pictures of the game that were not pushed
     * * `repeated`: buffers that repeat the one before, for a constant frame rate
     * * `imports`: memories made; consumers see no others
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_STATS,
        g_param_spec_boxed("stats", "Statistics",
                           "Counters since the start of the capture: frames, passed-through, "
                           "composed, copied, dropped, repeated, imports",
                           GST_TYPE_STRUCTURE,
                           static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));

    gst_type_mark_as_plugin_api(cursor_type(), static_cast<GstPluginAPIFlags>(0));
    gst_type_mark_as_plugin_api(zero_copy_type(), static_cast<GstPluginAPIFlags>(0));
}

static void gst_wl_screencopy_src_class_init(GstWlScreencopySrcClass* klass) {
    auto* object_class = G_OBJECT_CLASS(klass);
    auto* element_class = GST_ELEMENT_CLASS(klass);
    auto* base_class = GST_BASE_SRC_CLASS(klass);
    auto* push_class = GST_PUSH_SRC_CLASS(klass);

    object_class->finalize = gst_wl_screencopy_src_finalize;
    object_class->set_property = gst_wl_screencopy_src_set_property;
    object_class->get_property = gst_wl_screencopy_src_get_property;
    install_properties(object_class);

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
