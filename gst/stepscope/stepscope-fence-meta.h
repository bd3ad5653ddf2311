/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>
#include <gst/stepscope/stepscope-prelude.h>

G_BEGIN_DECLS

#define GST_TYPE_STEPSCOPE_FENCE (gst_stepscope_fence_get_type())
#define GST_STEPSCOPE_FENCE_META_API_TYPE (gst_stepscope_fence_meta_api_get_type())
#define GST_STEPSCOPE_FENCE_META_INFO (gst_stepscope_fence_meta_get_info())

/**
 * GstStepscopeFence:
 *
 * The fences of one use of a frame's memory: when the memory may be read, and when those who read
 * it are done. Reference counted; all functions may be called from any thread.
 *
 * Since: 0.1
 */
typedef struct _GstStepscopeFence GstStepscopeFence;

typedef struct _GstStepscopeFenceMeta GstStepscopeFenceMeta;

/**
 * GstStepscopeFenceMeta:
 * @meta: parent
 * @fence: the fences of the buffer's memory, a reference that belongs to the meta
 *
 * Fences of a buffer. Copies of the buffer that share its memory share the fences. Deep copies have
 * memory of their own and no fences: what made the copy had to wait. There is no serialized form.
 *
 * Since: 0.1
 */
struct _GstStepscopeFenceMeta {
    GstMeta meta;

    GstStepscopeFence* fence;
};

GST_STEPSCOPE_API
GType gst_stepscope_fence_get_type(void);

GST_STEPSCOPE_API
GstStepscopeFence* gst_stepscope_fence_new(gint acquire_fd);

GST_STEPSCOPE_API
GstStepscopeFence* gst_stepscope_fence_ref(GstStepscopeFence* fence);

GST_STEPSCOPE_API
void gst_stepscope_fence_unref(GstStepscopeFence* fence);

GST_STEPSCOPE_API
gint gst_stepscope_fence_get_acquire_fd(GstStepscopeFence* fence);

GST_STEPSCOPE_API
gint gst_stepscope_fence_dup_acquire_fd(GstStepscopeFence* fence, GError** error);

GST_STEPSCOPE_API
gboolean gst_stepscope_fence_is_ready(GstStepscopeFence* fence);

GST_STEPSCOPE_API
gboolean gst_stepscope_fence_wait(GstStepscopeFence* fence, GstClockTime timeout,
                                  GCancellable* cancellable, GError** error);

GST_STEPSCOPE_API
gboolean gst_stepscope_fence_add_release_fd(GstStepscopeFence* fence, gint fd, GError** error);

GST_STEPSCOPE_API
gint* gst_stepscope_fence_take_release_fds(GstStepscopeFence* fence, gsize* count);

GST_STEPSCOPE_API
GType gst_stepscope_fence_meta_api_get_type(void);

GST_STEPSCOPE_API
const GstMetaInfo* gst_stepscope_fence_meta_get_info(void);

GST_STEPSCOPE_API
GstStepscopeFenceMeta* gst_buffer_add_stepscope_fence_meta(GstBuffer* buffer,
                                                           GstStepscopeFence* fence);

GST_STEPSCOPE_API
GstStepscopeFenceMeta* gst_buffer_get_stepscope_fence_meta(GstBuffer* buffer);

G_END_DECLS
