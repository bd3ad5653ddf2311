// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_pads.hpp"

#include "gst/gst_ptr.hpp"
#include "gst/picture_caps.hpp"

namespace stepscope {

void apply_peer_caps(GstPad* pad, LaunchSettings& settings) {
    GstPtr<GstCaps> all(picture_template_caps());
    GstPtr<GstCaps> caps(gst_pad_peer_query_caps(pad, all.get()));
    if (!caps || gst_caps_is_any(caps.get()) || gst_caps_is_empty(caps.get())) {
        return;
    }
    const GstStructure* first = gst_caps_get_structure(caps.get(), 0);
    gint width = 0;
    gint height = 0;
    gint numerator = 0;
    gint denominator = 1;
    if (gst_structure_get_int(first, "width", &width) && width > 0) {
        settings.width = static_cast<uint32_t>(width);
    }
    if (gst_structure_get_int(first, "height", &height) && height > 0) {
        settings.height = static_cast<uint32_t>(height);
    }
    constexpr gint kFastest = 1000;
    if (gst_structure_get_fraction(first, "framerate", &numerator, &denominator) && numerator > 0 &&
        denominator > 0 && numerator / denominator <= kFastest) {
        settings.refresh = {static_cast<uint32_t>(numerator), static_cast<uint32_t>(denominator)};
    }
}

void push_eos(GstElement* element, GstPad* pad) {
    GstEvent* started = gst_pad_get_sticky_event(pad, GST_EVENT_STREAM_START, 0);
    if (started != nullptr) {
        gst_event_unref(started);
    } else {
        GstPtr<char> id(gst_pad_create_stream_id(pad, element, GST_PAD_NAME(pad)));
        GstEvent* start = gst_event_new_stream_start(id.get());
        gst_event_set_group_id(start, gst_util_group_id_next());
        gst_pad_push_event(pad, start);
    }
    GstEvent* segment = gst_pad_get_sticky_event(pad, GST_EVENT_SEGMENT, 0);
    if (segment != nullptr) {
        gst_event_unref(segment);
    } else {
        GstSegment plain;
        gst_segment_init(&plain, GST_FORMAT_TIME);
        gst_pad_push_event(pad, gst_event_new_segment(&plain));
    }
    gst_pad_push_event(pad, gst_event_new_eos());
}

}  // namespace stepscope
