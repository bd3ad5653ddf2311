// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:element-stepsoundsrc
 * @title: stepsoundsrc
 * @short_description: the sound of a game in lock-step
 *
 * What a game plays in a session that runs in lock-step with sound, by the game's own time: as many
 * samples as virtual time has passed. Somebody else steps the session, wlscreencopysrc for one.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 matroskamux name=mux ! filesink location=game.mkv \
 *     wlscreencopysrc mode=lockstep num-buffers=600 ! video/x-raw,framerate=60/1 ! queue ! \
 *     videoconvert ! x264enc ! queue ! mux. \
 *     stepsoundsrc duration=10000000000 ! queue max-size-time=0 ! audioconvert ! opusenc ! mux.
 * ]|
 *
 * Since: 0.1
 */
#include "gststepsoundsrc.h"

#include <atomic>
#include <format>
#include <mutex>
#include <string>

#include "gst/element_error.hpp"
#include "gst/gst_ptr.hpp"
#include "sound_client.hpp"

GST_DEBUG_CATEGORY(gst_step_sound_src_debug);
#define GST_CAT_DEFAULT gst_step_sound_src_debug

using namespace stepscope;

namespace {

enum {
    PROP_0,
    PROP_SESSION,
    PROP_DURATION,
};

/** How long a compositor may take to answer the first requests. */
constexpr std::chrono::seconds kConnectTimeout{5};

struct GstStepSoundSrcPrivate {
    std::mutex mutex;  // guards the next three
    std::string session;
    guint64 duration = 0;
    std::shared_ptr<SoundClient> sound;  // from READY on
    std::atomic<bool> flushing = false;
    uint64_t next = 0;  // frame of the session; of the streaming thread
};

}  // namespace

struct _GstStepSoundSrc {
    GstPushSrc parent;

    GstStepSoundSrcPrivate* priv;
};

G_DEFINE_FINAL_TYPE(GstStepSoundSrc, gst_step_sound_src, GST_TYPE_PUSH_SRC)
GST_ELEMENT_REGISTER_DEFINE_WITH_CODE(stepsoundsrc, "stepsoundsrc", GST_RANK_NONE,
                                      GST_TYPE_STEP_SOUND_SRC,
                                      GST_DEBUG_CATEGORY_INIT(gst_step_sound_src_debug,
                                                              "stepsoundsrc", 0,
                                                              "sound of games in lock-step"))

#define parent_class gst_step_sound_src_parent_class

static std::shared_ptr<SoundClient> running_sound(gpointer element) {
    auto* priv = GST_STEP_SOUND_SRC(element)->priv;
    std::lock_guard lock(priv->mutex);
    return priv->sound;
}

static void gst_step_sound_src_finalize(GObject* object) {
    delete GST_STEP_SOUND_SRC(object)->priv;
    G_OBJECT_CLASS(parent_class)->finalize(object);
}

static void gst_step_sound_src_set_property(GObject* object, guint id, const GValue* value,
                                            GParamSpec* spec) {
    auto* priv = GST_STEP_SOUND_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SESSION: {
            const char* name = g_value_get_string(value);
            priv->session = name != nullptr ? name : "";
            break;
        }
        case PROP_DURATION:
            priv->duration = g_value_get_uint64(value);
            if (priv->sound) {
                priv->sound->control().wake();
            }
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static void gst_step_sound_src_get_property(GObject* object, guint id, GValue* value,
                                            GParamSpec* spec) {
    auto* priv = GST_STEP_SOUND_SRC(object)->priv;
    std::lock_guard lock(priv->mutex);
    switch (id) {
        case PROP_SESSION:
            g_value_set_string(value, priv->session.empty() ? nullptr : priv->session.c_str());
            break;
        case PROP_DURATION:
            g_value_set_uint64(value, priv->duration);
            break;
        default:
            G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
            break;
    }
}

static Result<std::shared_ptr<SoundClient>> connect_sound(const std::string& session) {
    auto control = ControlClient::connect(session, kConnectTimeout);
    if (!control) {
        return std::unexpected(control.error());
    }
    auto sound = SoundClient::create(*control, kConnectTimeout);
    if (!sound) {
        return std::unexpected(sound.error());
    }
    return std::shared_ptr<SoundClient>(std::move(*sound));
}

// In READY, before any source of the pipeline can make a step: the stream then begins with the
// first of them.
static bool open_sound(GstStepSoundSrc* self) {
    auto* priv = self->priv;
    std::unique_lock lock(priv->mutex);
    if (priv->sound) {
        return true;
    }
    const std::string session = priv->session;
    lock.unlock();
    auto sound = connect_sound(session);
    if (!sound) {
        post_error(GST_ELEMENT(self), sound.error());
        return false;
    }
    lock.lock();
    priv->sound = std::move(*sound);
    return true;
}

static void close_sound(GstStepSoundSrc* self) {
    std::shared_ptr<SoundClient> sound;
    std::lock_guard lock(self->priv->mutex);
    sound.swap(self->priv->sound);
}

static GstStateChangeReturn gst_step_sound_src_change_state(GstElement* element,
                                                            GstStateChange transition) {
    auto* self = GST_STEP_SOUND_SRC(element);
    if ((transition == GST_STATE_CHANGE_NULL_TO_READY ||
         transition == GST_STATE_CHANGE_READY_TO_PAUSED) &&
        !open_sound(self)) {
        return GST_STATE_CHANGE_FAILURE;
    }
    const GstStateChangeReturn result =
        GST_ELEMENT_CLASS(parent_class)->change_state(element, transition);
    if (transition == GST_STATE_CHANGE_PAUSED_TO_READY ||
        transition == GST_STATE_CHANGE_READY_TO_NULL) {
        close_sound(self);
    }
    return result;
}

static gboolean gst_step_sound_src_start(GstBaseSrc* base) {
    GST_STEP_SOUND_SRC(base)->priv->next = running_sound(base)->begin();
    return TRUE;
}

static gboolean gst_step_sound_src_unlock(GstBaseSrc* base) {
    GST_STEP_SOUND_SRC(base)->priv->flushing = true;
    if (auto sound = running_sound(base)) {
        sound->control().wake();
    }
    return TRUE;
}

static gboolean gst_step_sound_src_unlock_stop(GstBaseSrc* base) {
    GST_STEP_SOUND_SRC(base)->priv->flushing = false;
    return TRUE;
}

static GstCaps* make_caps(const SoundClient& sound) {
    return gst_caps_new_simple("audio/x-raw", "format", G_TYPE_STRING, "S16LE", "layout",
                               G_TYPE_STRING, "interleaved", "rate", G_TYPE_INT,
                               static_cast<gint>(sound.rate()), "channels", G_TYPE_INT,
                               static_cast<gint>(sound.channels()), "channel-mask",
                               GST_TYPE_BITMASK, guint64{0x3}, nullptr);
}

static GstCaps* gst_step_sound_src_get_caps(GstBaseSrc* base, GstCaps* filter) {
    auto sound = running_sound(base);
    GstPtr<GstCaps> caps(sound ? make_caps(*sound)
                               : gst_pad_get_pad_template_caps(GST_BASE_SRC_PAD(base)));
    if (filter == nullptr) {
        return caps.release();
    }
    return gst_caps_intersect_full(filter, caps.get(), GST_CAPS_INTERSECT_FIRST);
}

/** Time of the stream at which a frame of the session is heard. */
static GstClockTime stream_time(const SoundClient& sound, uint64_t frame) {
    return gst_util_uint64_scale(frame - sound.begin(), GST_SECOND, sound.rate());
}

static GstPtr<GstBuffer> make_buffer(GstStepSoundSrc* self, const SoundClient& sound,
                                     uint64_t begin, uint32_t count) {
    GstPtr<GstBuffer> owned(gst_buffer_new_allocate(
        nullptr, gsize{count} * sound.channels() * sizeof(int16_t), nullptr));
    GstBuffer* buffer = owned.get();
    GstMapInfo map;
    if (buffer == nullptr || gst_buffer_map(buffer, &map, GST_MAP_WRITE) == FALSE) {
        return nullptr;
    }
    sound.copy(begin, count, reinterpret_cast<int16_t*>(map.data));
    gst_buffer_unmap(buffer, &map);
    GST_BUFFER_PTS(buffer) = stream_time(sound, begin);
    GST_BUFFER_DURATION(buffer) = stream_time(sound, begin + count) - GST_BUFFER_PTS(buffer);
    GST_BUFFER_OFFSET(buffer) = begin - sound.begin();
    GST_BUFFER_OFFSET_END(buffer) = begin - sound.begin() + count;
    if (begin != self->priv->next || begin == sound.begin()) {
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    }
    return owned;
}

/** The first frame of the session that is none of the stream's. */
static uint64_t end_of_stream(GstStepSoundSrc* self, const SoundClient& sound) {
    std::lock_guard lock(self->priv->mutex);
    const guint64 duration = self->priv->duration;
    return duration != 0 ? sound.begin() + gst_util_uint64_scale(duration, sound.rate(), GST_SECOND)
                         : UINT64_MAX;
}

/** Waits for samples. GST_FLOW_OK: there are some, and the stream ends at `end`, after `next`. */
static GstFlowReturn wait_for_samples(GstStepSoundSrc* self, SoundClient& sound,
                                      SoundClient::Samples& samples, uint64_t& end) {
    const auto* priv = self->priv;
    for (;;) {
        // The end may be moved at any time: what follows goes by this answer.
        end = end_of_stream(self, sound);
        if (priv->next >= end) {
            return GST_FLOW_EOS;
        }
        if (const auto& available = sound.available()) {
            samples = *available;
            return GST_FLOW_OK;
        }
        if (priv->flushing) {
            return GST_FLOW_FLUSHING;
        }
        if (sound.control().end()) {
            return GST_FLOW_EOS;
        }
        if (auto waited = sound.control().wait(std::nullopt); !waited) {
            if (sound.control().end()) {
                return GST_FLOW_EOS;
            }
            post_error(GST_ELEMENT(self), waited.error());
            return GST_FLOW_ERROR;
        }
    }
}

/** The next samples, or what `result` says. Of the streaming thread. */
static GstFlowReturn gst_step_sound_src_create(GstPushSrc* push, GstBuffer** result) {
    auto* self = GST_STEP_SOUND_SRC(push);
    auto* priv = self->priv;
    auto sound = running_sound(self);
    if (!sound) {
        return GST_FLOW_FLUSHING;
    }
    SoundClient::Samples samples;
    uint64_t end = 0;
    if (const GstFlowReturn flow = wait_for_samples(self, *sound, samples, end);
        flow != GST_FLOW_OK) {
        return flow;
    }
    if (samples.begin != priv->next) {
        GST_ELEMENT_WARNING(
            self, RESOURCE, READ,
            ("%" G_GUINT64_FORMAT " frames of sound were lost: nobody took them in time",
             samples.begin - priv->next),
            (nullptr));
    }
    if (samples.begin >= end) {
        return GST_FLOW_EOS;
    }
    const auto count = static_cast<uint32_t>(MIN(guint64{samples.count}, end - samples.begin));
    *result = make_buffer(self, *sound, samples.begin, count).release();
    if (*result == nullptr) {
        post_error(GST_ELEMENT(self), {Fault::system, "no memory for sound", 0});
        return GST_FLOW_ERROR;
    }
    priv->next = samples.begin + count;
    sound->take();
    return GST_FLOW_OK;
}

static void gst_step_sound_src_class_init(GstStepSoundSrcClass* klass) {
    auto* object_class = G_OBJECT_CLASS(klass);
    auto* element_class = GST_ELEMENT_CLASS(klass);
    auto* base_class = GST_BASE_SRC_CLASS(klass);
    auto* push_class = GST_PUSH_SRC_CLASS(klass);
    constexpr auto kReady = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                     GST_PARAM_MUTABLE_READY);

    object_class->finalize = gst_step_sound_src_finalize;
    object_class->set_property = gst_step_sound_src_set_property;
    object_class->get_property = gst_step_sound_src_get_property;
    g_object_class_install_property(
        object_class, PROP_SESSION,
        g_param_spec_string("session", "Session",
                            "Name of the session (unset = the only one that runs)", nullptr,
                            kReady));
    g_object_class_install_property(
        object_class, PROP_DURATION,
        g_param_spec_uint64("duration", "Duration",
                            "How much of the game's time to capture before the end of the stream "
                            "(nanoseconds, 0 = until the session ends)",
                            0, G_MAXUINT64, 0,
                            static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                     GST_PARAM_MUTABLE_PLAYING)));

    GstPtr<GstCaps> caps(gst_caps_from_string(
        "audio/x-raw, format=S16LE, layout=interleaved, rate=48000, channels=2"));
    gst_element_class_add_pad_template(
        element_class, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps.get()));
    gst_element_class_set_static_metadata(
        element_class, "Sound of a game in lock-step", "Source/Audio",
        "What a game plays, by the virtual time of its session", "Stepscope developers");

    element_class->change_state = GST_DEBUG_FUNCPTR(gst_step_sound_src_change_state);
    base_class->start = GST_DEBUG_FUNCPTR(gst_step_sound_src_start);
    base_class->unlock = GST_DEBUG_FUNCPTR(gst_step_sound_src_unlock);
    base_class->unlock_stop = GST_DEBUG_FUNCPTR(gst_step_sound_src_unlock_stop);
    base_class->get_caps = GST_DEBUG_FUNCPTR(gst_step_sound_src_get_caps);
    push_class->create = GST_DEBUG_FUNCPTR(gst_step_sound_src_create);
}

static void gst_step_sound_src_init(GstStepSoundSrc* self) {
    self->priv = new GstStepSoundSrcPrivate();
    gst_base_src_set_format(GST_BASE_SRC(self), GST_FORMAT_TIME);
    gst_base_src_set_live(GST_BASE_SRC(self), FALSE);
}
