// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:element-fencesink
 * @title: fencesink
 * @short_description: hands frames and their fences to other processes
 *
 * Consumers connect to a unix socket and get the memory of the pictures once, then a message for
 * each frame (docs/frame-socket.md). Nothing is copied where upstream produces into memory that can
 * be shared. With wait=steps a consumer drives the source: a step for each frame it asks for.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 wlscreencopysrc ! fencesink socket-path=/run/user/1000/game.frames
 * ]| Frames for any number of viewers; those that are busy miss some.
 * |[
 * gst-launch-1.0 wlscreencopysrc mode=lockstep ! video/x-raw,framerate=60/1 ! \
 *     fencesink socket-path=/run/user/1000/game.frames wait=steps
 * ]| An agent drives the game through the socket, one exact step at a time.
 *
 * Since: 0.1
 */
#include "gstfencesink.h"

#include <gst/stepscope/stepscope.h>

#include <mutex>

#include "fence_sink.hpp"
#include "gst/element_error.hpp"
#include "gst/shared_memory.hpp"

GST_DEBUG_CATEGORY(gst_fence_sink_debug);
#define GST_CAT_DEFAULT gst_fence_sink_debug

using namespace stepscope;

namespace {

enum {
    PROP_0,
    PROP_SOCKET_PATH,
    PROP_FD,
    PROP_MAX_CONSUMERS,
    PROP_WAIT,
    PROP_CONSUMER_TIMEOUT,
    PROP_ZERO_COPY,
    PROP_STATS,
};
enum { SIGNAL_CONNECTED, SIGNAL_DISCONNECTED, SIGNAL_DISCONNECT, N_SIGNALS };
guint signals[N_SIGNALS];

struct GstFenceSinkPrivate {
    std::mutex mutex;  // guards the next two
    FenceSinkSettings settings;
    std::shared_ptr<FenceSink> sink;  // from start() to stop()
    FenceSinkStats stats;
};

GType wait_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            {static_cast<int>(wire::Mode::live),
             "Do not wait: a consumer without a credit misses the frame", "none"},
            {static_cast<int>(wire::Mode::credits),
             "Wait until every consumer has a credit, and there is one", "credits"},
            {static_cast<int>(wire::Mode::steps),
             "The same, and let the next frame come only when a consumer asks for it", "steps"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstFenceSinkWait", values);
    }();
    return type;
}

GType zero_copy_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            {1, "Fail where memory can't be shared", "require"},
            {0, "Copy once where memory can't be shared", "prefer"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstFenceSinkZeroCopy", values);
    }();
    return type;
}

}  // namespace

struct _GstFenceSink {
    GstBaseSink parent;

    GstFenceSinkPrivate* priv;
};

G_DEFINE_FINAL_TYPE(GstFenceSink, gst_fence_sink, GST_TYPE_BASE_SINK)
GST_ELEMENT_REGISTER_DEFINE_WITH_CODE(fencesink, "fencesink", GST_RANK_NONE, GST_TYPE_FENCE_SINK,
                                      GST_DEBUG_CATEGORY_INIT(gst_fence_sink_debug, "fencesink", 0,
                                                              "frames for other processes"))

#define parent_class gst_fence_sink_parent_class

namespace stepscope {

// Signals may run code of the application, so they are emitted without any lock.

void FenceSink::handle_connected(const ConsumerInfo& consumer) {
    GstPtr<char> name(g_utf8_make_valid(consumer.name.c_str(), -1));
    GST_INFO_OBJECT(element_, "consumer %" G_GUINT64_FORMAT " ('%s', pid %d) connected%s",
                    consumer.id, name.get(), static_cast<int>(consumer.pid),
                    consumer.steps ? ", it steps" : "");
    gst_element_post_message(
        element(),
        gst_message_new_element(
            GST_OBJECT(element_),
            gst_structure_new("stepscope-consumer-connected", "id", G_TYPE_UINT64, consumer.id,
                              "name", G_TYPE_STRING, name.get(), "pid", G_TYPE_INT,
                              static_cast<int>(consumer.pid), "steps", G_TYPE_BOOLEAN,
                              static_cast<gboolean>(consumer.steps), nullptr)));
    g_signal_emit(element_, signals[SIGNAL_CONNECTED], 0, consumer.id, name.get(),
                  static_cast<int>(consumer.pid));
}

void FenceSink::handle_disconnected(const ConsumerInfo& consumer, const std::string& reason) {
    GstPtr<char> name(g_utf8_make_valid(consumer.name.c_str(), -1));
    GstPtr<char> why(g_utf8_make_valid(reason.c_str(), -1));
    GST_INFO_OBJECT(element_, "consumer %" G_GUINT64_FORMAT " ('%s', pid %d) left: %s", consumer.id,
                    name.get(), static_cast<int>(consumer.pid), why.get());
    gst_element_post_message(
        element(), gst_message_new_element(
                       GST_OBJECT(element_),
                       gst_structure_new("stepscope-consumer-disconnected", "id", G_TYPE_UINT64,
                                         consumer.id, "name", G_TYPE_STRING, name.get(), "pid",
                                         G_TYPE_INT, static_cast<int>(consumer.pid), "reason",
                                         G_TYPE_STRING, why.get(), nullptr)));
    g_signal_emit(element_, signals[SIGNAL_DISCONNECTED], 0, consumer.id, why.get());
}

void FenceSink::handle_turned_away(const std::string& reason) {
    GstPtr<char> why(g_utf8_make_valid(reason.c_str(), -1));
    GST_WARNING_OBJECT(element_, "a connection was turned away: %s", why.get());
    gst_element_post_message(
        element(), gst_message_new_element(GST_OBJECT(element_),
                                           gst_structure_new("stepscope-consumer-refused", "reason",
                                                             G_TYPE_STRING, why.get(), nullptr)));
}

}  // namespace stepscope

static std::shared_ptr<FenceSink> running_sink(GstFenceSink* self) {
    std::lock_guard lock(self->priv->mutex);
    return self->priv->sink;
}

static void gst_fence_sink_finalize(GObject* object) {
    delete GST_FENCE_SINK(object)->priv;
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

static GstStructure* make_stats(GstFenceSink* self) {
    const FenceSinkStats& stats = self->priv->stats;
    FrameServerStats consumers;
    if (auto sink = running_sink(self)) {
        consumers = sink->consumers();
    }
    return gst_structure_new(
        "application/x-fencesink-stats", "frames", G_TYPE_UINT64, stats.frames.load(), "copied",
        G_TYPE_UINT64, stats.copied.load(), "waited", G_TYPE_UINT64, stats.waited.load(), "slots",
        G_TYPE_UINT64, stats.slots.load(), "sent", G_TYPE_UINT64, consumers.sent, "dropped",
        G_TYPE_UINT64, consumers.dropped, "steps", G_TYPE_UINT64, consumers.steps, "consumers",
        G_TYPE_UINT64, consumers.consumers, "held", G_TYPE_UINT64, consumers.held, nullptr);
}

static void gst_fence_sink_set_property(GObject* object, guint id, const GValue* value,
                                        GParamSpec* spec) {
    auto* priv = GST_FENCE_SINK(object)->priv;
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
        case PROP_MAX_CONSUMERS:
            priv->settings.max_consumers = g_value_get_uint(value);
            break;
        case PROP_WAIT:
            priv->settings.wait = static_cast<wire::Mode>(g_value_get_enum(value));
            break;
        case PROP_CONSUMER_TIMEOUT:
            priv->settings.consumer_timeout_ms = g_value_get_uint(value);
            break;
        case PROP_ZERO_COPY:
            priv->settings.require_zero_copy = g_value_get_enum(value) == 1;
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static void gst_fence_sink_get_property(GObject* object, guint id, GValue* value,
                                        GParamSpec* spec) {
    auto* self = GST_FENCE_SINK(object);
    auto* priv = self->priv;
    if (id == PROP_STATS) {
        g_value_take_boxed(value, make_stats(self));
        return;
    }
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
        case PROP_MAX_CONSUMERS:
            g_value_set_uint(value, priv->settings.max_consumers);
            break;
        case PROP_WAIT:
            g_value_set_enum(value, static_cast<int>(priv->settings.wait));
            break;
        case PROP_CONSUMER_TIMEOUT:
            g_value_set_uint(value, priv->settings.consumer_timeout_ms);
            break;
        case PROP_ZERO_COPY:
            g_value_set_enum(value, priv->settings.require_zero_copy ? 1 : 0);
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static gboolean gst_fence_sink_start(GstBaseSink* base) {
    // Called on NULL to READY.
    auto* self = GST_FENCE_SINK(base);
    auto* priv = self->priv;
    std::unique_lock lock(priv->mutex);
    const FenceSinkSettings settings = priv->settings;
    lock.unlock();
    for (auto* counter :
         {&priv->stats.frames, &priv->stats.copied, &priv->stats.waited, &priv->stats.slots}) {
        *counter = 0;
    }
    auto sink = FenceSink::create(base, settings, priv->stats);
    if (!sink) {
        post_error(GST_ELEMENT(self), sink.error());
        return FALSE;
    }
    lock.lock();
    priv->sink = std::move(*sink);
    return TRUE;
}

static gboolean gst_fence_sink_stop(GstBaseSink* base) {
    // Called on READY to NULL.
    auto* priv = GST_FENCE_SINK(base)->priv;
    std::shared_ptr<FenceSink> sink;
    {
        std::lock_guard lock(priv->mutex);
        sink.swap(priv->sink);
    }
    return TRUE;
}

static gboolean gst_fence_sink_unlock(GstBaseSink* base) {
    if (auto sink = running_sink(GST_FENCE_SINK(base))) {
        sink->interrupt(true);
    }
    return TRUE;
}

static gboolean gst_fence_sink_unlock_stop(GstBaseSink* base) {
    if (auto sink = running_sink(GST_FENCE_SINK(base))) {
        sink->interrupt(false);
    }
    return TRUE;
}

static gboolean gst_fence_sink_set_caps(GstBaseSink* base, GstCaps* caps) {
    return GST_FENCE_SINK(base)->priv->sink->set_caps(caps);
}

static gboolean gst_fence_sink_propose_allocation(GstBaseSink* base, GstQuery* query) {
    GstCaps* caps = nullptr;
    gboolean need_pool = FALSE;
    gst_query_parse_allocation(query, &caps, &need_pool);
    gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr);
    gst_query_add_allocation_meta(query, GST_STEPSCOPE_FENCE_META_API_TYPE, nullptr);
    GstVideoInfo info;
    if (caps == nullptr || gst_video_is_dma_drm_caps(caps) ||
        !gst_video_info_from_caps(&info, caps)) {
        return TRUE;
    }
    GstPtr<GstAllocator> allocator = shared_allocator();
    gst_query_add_allocation_param(query, allocator.get(), nullptr);
    // Consumers hold buffers for a while, so there is no upper limit.
    GstPtr<GstBufferPool> pool = make_shared_pool(caps, info, 2);
    if (pool) {
        gst_query_add_allocation_pool(query, pool.get(),
                                      static_cast<guint>(GST_VIDEO_INFO_SIZE(&info)), 2, 0);
    }
    return TRUE;
}

static gboolean gst_fence_sink_event(GstBaseSink* base, GstEvent* event) {
    auto sink = running_sink(GST_FENCE_SINK(base));
    if (sink && GST_EVENT_TYPE(event) == GST_EVENT_EOS) {
        sink->end_of_stream();
    } else if (sink && GST_EVENT_TYPE(event) == GST_EVENT_FLUSH_STOP) {
        sink->begin_again();
    } else if (sink && GST_EVENT_TYPE(event) == GST_EVENT_CUSTOM_DOWNSTREAM &&
               gst_event_has_name(event, "stepscope-ended")) {
        sink->note_end(gst_event_get_structure(event));
    }
    return GST_BASE_SINK_CLASS(parent_class)->event(base, event);
}

static GstStateChangeReturn gst_fence_sink_change_state(GstElement* element,
                                                        GstStateChange transition) {
    const GstStateChangeReturn result =
        GST_ELEMENT_CLASS(parent_class)->change_state(element, transition);
    if (auto sink = running_sink(GST_FENCE_SINK(element));
        sink && transition == GST_STATE_CHANGE_PAUSED_TO_READY) {
        sink->begin_again();
    }
    return result;
}

static GstFlowReturn gst_fence_sink_render(GstBaseSink* base, GstBuffer* buffer) {
    return GST_FENCE_SINK(base)->priv->sink->render(buffer);
}

static gboolean gst_fence_sink_disconnect(GstFenceSink* self, guint64 consumer) {
    auto sink = running_sink(self);
    if (sink) {
        sink->disconnect(consumer);
    }
    return sink != nullptr;
}

static void install_properties(GObjectClass* object_class) {
    constexpr auto kReady = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                     GST_PARAM_MUTABLE_READY);
    const FenceSinkSettings defaults;
    g_object_class_install_property(
        object_class, PROP_SOCKET_PATH,
        g_param_spec_string("socket-path", "Socket path",
                            "Where consumers connect; a socket that nobody listens at any more is "
                            "taken over",
                            nullptr, kReady));
    g_object_class_install_property(
        object_class, PROP_FD,
        g_param_spec_int("fd", "File descriptor",
                         "An inherited SOCK_SEQPACKET socket instead of socket-path: a listening "
                         "one, or the connection of one consumer (-1 = none)",
                         -1, G_MAXINT, defaults.fd, kReady));
    g_object_class_install_property(object_class, PROP_MAX_CONSUMERS,
                                    g_param_spec_uint("max-consumers", "Maximum consumers",
                                                      "Consumers at a time; more are turned away",
                                                      1, 256, defaults.max_consumers, kReady));
    g_object_class_install_property(
        object_class, PROP_WAIT,
        g_param_spec_enum("wait", "Wait", "What the pipeline waits for before its next frame",
                          wait_type(), static_cast<int>(defaults.wait), kReady));
    g_object_class_install_property(
        object_class, PROP_CONSUMER_TIMEOUT,
        g_param_spec_uint("consumer-timeout", "Consumer timeout",
                          "How long a consumer may keep others waiting for a credit before it is "
                          "disconnected (milliseconds, 0 = no limit)",
                          0, G_MAXINT, defaults.consumer_timeout_ms, kReady));
    g_object_class_install_property(
        object_class, PROP_ZERO_COPY,
        g_param_spec_enum("zero-copy", "Zero copy",
                          "What to do about memory that can't be shared with other processes",
                          zero_copy_type(), 0, kReady));
    g_object_class_install_property(
        object_class, PROP_STATS,
        g_param_spec_boxed("stats", "Statistics",
                           "Counters since the start: frames, copied, waited, slots, sent, "
                           "dropped, steps; and now: consumers, held",
                           GST_TYPE_STRUCTURE,
                           static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));
    gst_type_mark_as_plugin_api(wait_type(), static_cast<GstPluginAPIFlags>(0));
    gst_type_mark_as_plugin_api(zero_copy_type(), static_cast<GstPluginAPIFlags>(0));
}

static void gst_fence_sink_class_init(GstFenceSinkClass* klass) {
    auto* object_class = G_OBJECT_CLASS(klass);
    auto* element_class = GST_ELEMENT_CLASS(klass);
    auto* base_class = GST_BASE_SINK_CLASS(klass);

    object_class->finalize = gst_fence_sink_finalize;
    object_class->set_property = gst_fence_sink_set_property;
    object_class->get_property = gst_fence_sink_get_property;
    install_properties(object_class);

    /**
     * GstFenceSink::consumer-connected:
     * @id: number of the connection
     * @name: what the consumer calls itself
     * @pid: its process
     *
     * On a thread of the element's. Since: 0.1
     */
    signals[SIGNAL_CONNECTED] =
        g_signal_new("consumer-connected", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, nullptr,
                     nullptr, nullptr, G_TYPE_NONE, 3, G_TYPE_UINT64, G_TYPE_STRING, G_TYPE_INT);
    /**
     * GstFenceSink::consumer-disconnected:
     * @id: number of the connection
     * @reason: for a person
     *
     * On a thread of the element's. Since: 0.1
     */
    signals[SIGNAL_DISCONNECTED] =
        g_signal_new("consumer-disconnected", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0,
                     nullptr, nullptr, nullptr, G_TYPE_NONE, 2, G_TYPE_UINT64, G_TYPE_STRING);
    /**
     * GstFenceSink::disconnect-consumer:
     * @id: number of the connection
     *
     * Ends a consumer's connection; what it holds is released. Since: 0.1
     */
    signals[SIGNAL_DISCONNECT] =
        g_signal_new_class_handler("disconnect-consumer", G_TYPE_FROM_CLASS(klass),
                                   static_cast<GSignalFlags>(G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION),
                                   G_CALLBACK(gst_fence_sink_disconnect), nullptr, nullptr, nullptr,
                                   G_TYPE_BOOLEAN, 1, G_TYPE_UINT64);

    GstPtr<GstCaps> caps = picture_template_caps();
    gst_element_class_add_pad_template(
        element_class, gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps.get()));
    gst_element_class_set_static_metadata(
        element_class, "Frame socket sink", "Sink/Video",
        "Hands frames, their memory and their fences to other processes, without copying where it "
        "can",
        "Stepscope developers");

    element_class->change_state = GST_DEBUG_FUNCPTR(gst_fence_sink_change_state);
    base_class->start = GST_DEBUG_FUNCPTR(gst_fence_sink_start);
    base_class->stop = GST_DEBUG_FUNCPTR(gst_fence_sink_stop);
    base_class->unlock = GST_DEBUG_FUNCPTR(gst_fence_sink_unlock);
    base_class->unlock_stop = GST_DEBUG_FUNCPTR(gst_fence_sink_unlock_stop);
    base_class->set_caps = GST_DEBUG_FUNCPTR(gst_fence_sink_set_caps);
    base_class->propose_allocation = GST_DEBUG_FUNCPTR(gst_fence_sink_propose_allocation);
    base_class->event = GST_DEBUG_FUNCPTR(gst_fence_sink_event);
    base_class->render = GST_DEBUG_FUNCPTR(gst_fence_sink_render);
}

static void gst_fence_sink_init(GstFenceSink* self) {
    self->priv = new GstFenceSinkPrivate();
    // Frames go out when they come: consumers decide when to show them, or when the next one comes.
    gst_base_sink_set_sync(GST_BASE_SINK(self), FALSE);
    gst_base_sink_set_last_sample_enabled(GST_BASE_SINK(self), FALSE);
}
