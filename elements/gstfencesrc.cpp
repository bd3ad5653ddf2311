// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:element-fencesrc
 * @title: fencesrc
 * @short_description: frames that a fencesink of another process hands out
 *
 * The buffers have the same memory that the other process has: nothing was copied. With steps=true
 * each buffer is a step of the game that the other process captures in lock-step.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 fencesrc socket-path=/run/user/1000/game.frames ! videoconvert ! autovideosink
 * ]|
 *
 * Since: 0.1
 */
#include "gstfencesrc.h"

#include <mutex>

#include "fence_source.hpp"
#include "gst/element_error.hpp"
#include "gst/picture_caps.hpp"

GST_DEBUG_CATEGORY(gst_fence_src_debug);
#define GST_CAT_DEFAULT gst_fence_src_debug

using namespace stepscope;

namespace {

enum {
    PROP_0,
    PROP_SOCKET_PATH,
    PROP_FD,
    PROP_MAX_BUFFERS,
    PROP_STEPS,
    PROP_TIMEOUT,
    PROP_STATS,
};

struct GstFenceSrcPrivate {
    std::mutex mutex;  // guards the next two
    FenceSourceSettings settings;
    std::shared_ptr<FenceSource> source;  // from READY to PAUSED and back
    FenceSourceStats stats;
};

}  // namespace

struct _GstFenceSrc {
    GstPushSrc parent;

    GstFenceSrcPrivate* priv;
};

G_DEFINE_FINAL_TYPE(GstFenceSrc, gst_fence_src, GST_TYPE_PUSH_SRC)
GST_ELEMENT_REGISTER_DEFINE_WITH_CODE(fencesrc, "fencesrc", GST_RANK_NONE, GST_TYPE_FENCE_SRC,
                                      GST_DEBUG_CATEGORY_INIT(gst_fence_src_debug, "fencesrc", 0,
                                                              "frames of other processes"))

#define parent_class gst_fence_src_parent_class

static std::shared_ptr<FenceSource> running_source(gpointer element) {
    auto* priv = GST_FENCE_SRC(element)->priv;
    std::lock_guard lock(priv->mutex);
    return priv->source;
}

static void gst_fence_src_finalize(GObject* object) {
    delete GST_FENCE_SRC(object)->priv;
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

static GstStructure* make_stats(const FenceSourceStats& stats) {
    return gst_structure_new(
        "application/x-fencesrc-stats", "frames", G_TYPE_UINT64, stats.frames.load(), "copied",
        G_TYPE_UINT64, stats.copied.load(), "dropped", G_TYPE_UINT64, stats.dropped.load(),
        "repeated", G_TYPE_UINT64, stats.repeated.load(), "imports", G_TYPE_UINT64,
        stats.imports.load(), "steps", G_TYPE_UINT64, stats.steps.load(), nullptr);
}

static void gst_fence_src_set_property(GObject* object, guint id, const GValue* value,
                                       GParamSpec* spec) {
    auto* priv = GST_FENCE_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SOCKET_PATH: {
            const char* path = g_value_get_string(value);
            priv->settings.socket_path = path != nullptr ? path : "";
            break;
        }
        case PROP_FD:
            priv->settings.fd = g_value_get_int(value);
            break;
        case PROP_MAX_BUFFERS:
            priv->settings.max_buffers = g_value_get_uint(value);
            break;
        case PROP_STEPS:
            priv->settings.steps = g_value_get_boolean(value) != FALSE;
            break;
        case PROP_TIMEOUT:
            priv->settings.timeout_ms = g_value_get_uint(value);
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static void gst_fence_src_get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
    auto* priv = GST_FENCE_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SOCKET_PATH:
            g_value_set_string(value, priv->settings.socket_path.empty()
                                          ? nullptr
                                          : priv->settings.socket_path.c_str());
            break;
        case PROP_FD:
            g_value_set_int(value, priv->settings.fd);
            break;
        case PROP_MAX_BUFFERS:
            g_value_set_uint(value, priv->settings.max_buffers);
            break;
        case PROP_STEPS:
            g_value_set_boolean(value, priv->settings.steps);
            break;
        case PROP_TIMEOUT:
            g_value_set_uint(value, priv->settings.timeout_ms);
            break;
        case PROP_STATS:
            g_value_take_boxed(value, make_stats(priv->stats));
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static bool connect_source(GstFenceSrc* self) {
    auto* priv = self->priv;
    std::unique_lock lock(priv->mutex);
    const FenceSourceSettings settings = priv->settings;
    lock.unlock();
    for (auto* counter : {&priv->stats.frames, &priv->stats.copied, &priv->stats.dropped,
                          &priv->stats.repeated, &priv->stats.imports, &priv->stats.steps}) {
        *counter = 0;
    }
    auto source = FenceSource::connect(GST_BASE_SRC(self), settings, priv->stats);
    if (!source) {
        post_error(GST_ELEMENT(self), source.error());
        return false;
    }
    gst_base_src_set_live(GST_BASE_SRC(self), (*source)->live());
    lock.lock();
    priv->source = std::move(*source);
    return true;
}

static void disconnect_source(GstFenceSrc* self) {
    std::shared_ptr<FenceSource> source;
    std::lock_guard lock(self->priv->mutex);
    source.swap(self->priv->source);
}

static GstStateChangeReturn gst_fence_src_change_state(GstElement* element,
                                                       GstStateChange transition) {
    auto* self = GST_FENCE_SRC(element);
    // Before the base class: whether this is a live source is for the producer to say.
    if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !connect_source(self)) {
        return GST_STATE_CHANGE_FAILURE;
    }
    const GstStateChangeReturn result =
        GST_ELEMENT_CLASS(parent_class)->change_state(element, transition);
    if (transition == GST_STATE_CHANGE_PAUSED_TO_READY ||
        (transition == GST_STATE_CHANGE_READY_TO_PAUSED && result == GST_STATE_CHANGE_FAILURE)) {
        disconnect_source(self);
    }
    return result;
}

static gboolean gst_fence_src_unlock(GstBaseSrc* base) {
    if (auto source = running_source(base)) {
        source->set_flushing(true);
    }
    return TRUE;
}

static gboolean gst_fence_src_unlock_stop(GstBaseSrc* base) {
    if (auto source = running_source(base)) {
        source->set_flushing(false);
    }
    return TRUE;
}

static GstCaps* gst_fence_src_get_caps(GstBaseSrc* base, GstCaps* filter) {
    auto source = running_source(base);
    GstPtr<GstCaps> caps = source ? source->caps() : picture_template_caps();
    if (filter == nullptr) {
        return caps.release();
    }
    return gst_caps_intersect_full(filter, caps.get(), GST_CAPS_INTERSECT_FIRST);
}

static gboolean gst_fence_src_negotiate(GstBaseSrc* base) {
    auto source = running_source(base);
    return source && source->negotiate();
}

static gboolean gst_fence_src_decide_allocation(GstBaseSrc* base, GstQuery* query) {
    // The memory is the producer's: pools of others are of no use.
    while (gst_query_get_n_allocation_pools(query) > 0) {
        gst_query_remove_nth_allocation_pool(query, 0);
    }
    running_source(base)->set_peer(
        gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr),
        gst_query_find_allocation_meta(query, GST_STEPSCOPE_FENCE_META_API_TYPE, nullptr));
    return TRUE;
}

static gboolean gst_fence_src_event(GstBaseSrc* base, GstEvent* event) {
    auto source = running_source(base);
    if (source && GST_EVENT_TYPE(event) == GST_EVENT_CUSTOM_UPSTREAM &&
        gst_event_has_name(event, "stepscope-input")) {
        auto actions = parse_input_event(gst_event_get_structure(event));
        if (!actions) {
            GST_ELEMENT_WARNING(base, RESOURCE, SETTINGS, ("%s", actions.error().message.c_str()),
                                (nullptr));
            return FALSE;
        }
        source->inject(*actions);
        return TRUE;
    }
    if (source && GST_EVENT_TYPE(event) == GST_EVENT_NAVIGATION) {
        const InputActions actions = parse_navigation(event);
        source->inject(actions);
        return !actions.empty();
    }
    return GST_BASE_SRC_CLASS(parent_class)->event(base, event);
}

static GstFlowReturn gst_fence_src_create(GstPushSrc* push, GstBuffer** buffer) {
    auto source = running_source(push);
    return source ? source->create(buffer) : GST_FLOW_FLUSHING;
}

static void gst_fence_src_class_init(GstFenceSrcClass* klass) {
    auto* object_class = G_OBJECT_CLASS(klass);
    auto* element_class = GST_ELEMENT_CLASS(klass);
    auto* base_class = GST_BASE_SRC_CLASS(klass);
    auto* push_class = GST_PUSH_SRC_CLASS(klass);
    constexpr auto kReady = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                     GST_PARAM_MUTABLE_READY);
    const FenceSourceSettings defaults;

    object_class->finalize = gst_fence_src_finalize;
    object_class->set_property = gst_fence_src_set_property;
    object_class->get_property = gst_fence_src_get_property;
    g_object_class_install_property(
        object_class, PROP_SOCKET_PATH,
        g_param_spec_string("socket-path", "Socket path",
                            "Where the producer, a fencesink, listens", nullptr, kReady));
    g_object_class_install_property(
        object_class, PROP_FD,
        g_param_spec_int("fd", "File descriptor",
                         "An inherited connection instead of socket-path (-1 = none)", -1, G_MAXINT,
                         defaults.fd, kReady));
    g_object_class_install_property(
        object_class, PROP_MAX_BUFFERS,
        g_param_spec_uint("max-buffers", "Maximum buffers",
                          "Frames that may be held downstream at a time (frames)", 1,
                          wire::kMaxCredits, defaults.max_buffers, kReady));
    g_object_class_install_property(
        object_class, PROP_STEPS,
        g_param_spec_boolean("steps", "Steps",
                             "Drive the game: ask for a step for each buffer; the producer needs "
                             "wait=steps",
                             FALSE, kReady));
    g_object_class_install_property(
        object_class, PROP_TIMEOUT,
        g_param_spec_uint("timeout", "Timeout",
                          "How long to wait for a producer that does not listen yet "
                          "(milliseconds)",
                          0, 600'000, defaults.timeout_ms, kReady));
    g_object_class_install_property(
        object_class, PROP_STATS,
        g_param_spec_boxed("stats", "Statistics",
                           "Counters since the start: frames, copied, dropped, repeated, imports, "
                           "steps",
                           GST_TYPE_STRUCTURE,
                           static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));

    GstPtr<GstCaps> caps = picture_template_caps();
    gst_element_class_add_pad_template(
        element_class, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps.get()));
    gst_element_class_set_static_metadata(
        element_class, "Frame socket source", "Source/Video",
        "Frames that a fencesink of another process hands out, in the same memory",
        "Stepscope developers");

    element_class->change_state = GST_DEBUG_FUNCPTR(gst_fence_src_change_state);
    base_class->unlock = GST_DEBUG_FUNCPTR(gst_fence_src_unlock);
    base_class->unlock_stop = GST_DEBUG_FUNCPTR(gst_fence_src_unlock_stop);
    base_class->get_caps = GST_DEBUG_FUNCPTR(gst_fence_src_get_caps);
    base_class->negotiate = GST_DEBUG_FUNCPTR(gst_fence_src_negotiate);
    base_class->decide_allocation = GST_DEBUG_FUNCPTR(gst_fence_src_decide_allocation);
    base_class->event = GST_DEBUG_FUNCPTR(gst_fence_src_event);
    push_class->create = GST_DEBUG_FUNCPTR(gst_fence_src_create);
}

static void gst_fence_src_init(GstFenceSrc* self) {
    self->priv = new GstFenceSrcPrivate();
    gst_base_src_set_format(GST_BASE_SRC(self), GST_FORMAT_TIME);
}
