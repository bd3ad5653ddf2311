// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>
#include <gst/stepscope/stepscope-fence-meta.h>

#include <memory>

namespace stepscope {

/** Frees what a GStreamer function returned with "transfer full". */
struct GstDeleter {
    void operator()(GstCaps* caps) const { gst_caps_unref(caps); }
    void operator()(GstBuffer* buffer) const { gst_buffer_unref(buffer); }
    void operator()(GstMemory* memory) const { gst_memory_unref(memory); }
    void operator()(GstStructure* structure) const { gst_structure_free(structure); }
    void operator()(GstObject* object) const { gst_object_unref(object); }
    void operator()(GstAllocator* allocator) const { gst_object_unref(allocator); }
    void operator()(GstBufferPool* pool) const { gst_object_unref(pool); }
    void operator()(GstClock* clock) const { gst_object_unref(clock); }
    void operator()(GstPad* pad) const { gst_object_unref(pad); }
    void operator()(GstElement* element) const { gst_object_unref(element); }
    void operator()(GstBus* bus) const { gst_object_unref(bus); }
    void operator()(GstMessage* message) const { gst_message_unref(message); }
    void operator()(GstQuery* query) const { gst_query_unref(query); }
    void operator()(GstSample* sample) const { gst_sample_unref(sample); }
    void operator()(GstStepscopeFence* fence) const { gst_stepscope_fence_unref(fence); }
    void operator()(GstTagList* tags) const { gst_tag_list_unref(tags); }
    void operator()(char* text) const { g_free(text); }
};

/** Owns one reference; constructing it adopts the reference. */
template <typename T>
using GstPtr = std::unique_ptr<T, GstDeleter>;

}  // namespace stepscope
