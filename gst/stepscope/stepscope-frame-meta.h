/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/stepscope/stepscope-prelude.h>

G_BEGIN_DECLS

/**
 * GstStepscopeFramePath:
 * @GST_STEPSCOPE_FRAME_PATH_PASSED_THROUGH: the memory that the game drew into
 * @GST_STEPSCOPE_FRAME_PATH_COMPOSED: drawn by the compositor, from more than one picture or scaled
 * @GST_STEPSCOPE_FRAME_PATH_COPIED: one full picture, copied
 *
 * How a picture got into the memory of its buffer.
 *
 * Since: 0.1
 */
typedef enum {
    GST_STEPSCOPE_FRAME_PATH_PASSED_THROUGH = 1,
    GST_STEPSCOPE_FRAME_PATH_COMPOSED = 2,
    GST_STEPSCOPE_FRAME_PATH_COPIED = 3,
} GstStepscopeFramePath;

/**
 * GstStepscopeFrameReason:
 * @GST_STEPSCOPE_FRAME_REASON_NONE: it passed through the compositor
 * @GST_STEPSCOPE_FRAME_REASON_WINDOWS: more than one surface is visible
 * @GST_STEPSCOPE_FRAME_REASON_SIZE: the game's picture is not of the output's size
 * @GST_STEPSCOPE_FRAME_REASON_CURSOR: the cursor is drawn into the picture
 * @GST_STEPSCOPE_FRAME_REASON_NOT_SHAREABLE: the game's memory can't be protected against shrinking
 * @GST_STEPSCOPE_FRAME_REASON_HELD: consumers hold as many of the game's buffers as it can spare
 * @GST_STEPSCOPE_FRAME_REASON_FORMAT: the game's format can't be described to the consumer
 * @GST_STEPSCOPE_FRAME_REASON_NO_WINDOW: there is no window
 * @GST_STEPSCOPE_FRAME_REASON_OTHER: the renderer decided so
 * @GST_STEPSCOPE_FRAME_REASON_SCREENCOPY: not a Stepscope session was captured but another
 *   compositor, which copies each picture
 *
 * Why the compositor did not pass a picture through.
 *
 * Since: 0.1
 */
typedef enum {
    GST_STEPSCOPE_FRAME_REASON_NONE = 0,
    GST_STEPSCOPE_FRAME_REASON_WINDOWS = 1,
    GST_STEPSCOPE_FRAME_REASON_SIZE = 2,
    GST_STEPSCOPE_FRAME_REASON_CURSOR = 3,
    GST_STEPSCOPE_FRAME_REASON_NOT_SHAREABLE = 4,
    GST_STEPSCOPE_FRAME_REASON_HELD = 5,
    GST_STEPSCOPE_FRAME_REASON_FORMAT = 6,
    GST_STEPSCOPE_FRAME_REASON_NO_WINDOW = 7,
    GST_STEPSCOPE_FRAME_REASON_OTHER = 8,
    GST_STEPSCOPE_FRAME_REASON_SCREENCOPY = 100,
} GstStepscopeFrameReason;

#define GST_TYPE_STEPSCOPE_FRAME_PATH (gst_stepscope_frame_path_get_type())
#define GST_TYPE_STEPSCOPE_FRAME_REASON (gst_stepscope_frame_reason_get_type())
#define GST_STEPSCOPE_FRAME_META_API_TYPE (gst_stepscope_frame_meta_api_get_type())
#define GST_STEPSCOPE_FRAME_META_INFO (gst_stepscope_frame_meta_get_info())

typedef struct _GstStepscopeFrameMeta GstStepscopeFrameMeta;

/**
 * GstStepscopeFrameMeta:
 * @meta: parent
 * @commit_id: number of the picture, counted by the session's compositor; two buffers with the same
 *   number show the same picture
 * @path: how the picture got into this buffer's memory
 * @reason: why the compositor did not pass it through; %GST_STEPSCOPE_FRAME_REASON_NONE together
 *   with %GST_STEPSCOPE_FRAME_PATH_COPIED: the capturing element made the copy
 * @repeated: %TRUE if the picture was pushed before and stands in for a new one
 * @step: lock-step: number of the session's step that showed the picture, from 1; live: 0
 * @virtual_time: lock-step: nanoseconds of virtual time at the end of that step; live: 0
 * @input_sequence: lock-step: number of input events that the capturing element had sent when the
 *   step of this buffer began, so the picture is the first that can show the newest of them; live:
 * 0
 * @damage_since: number of the picture from which this one differs only in the buffer's
 *   #GstVideoRegionOfInterestMeta of the type `damage`; 0 if that is not known
 *
 * Where a captured picture comes from. Travels with copies of the buffer within a process; it has
 * no serialized form.
 *
 * Since: 0.1
 */
struct _GstStepscopeFrameMeta {
    GstMeta meta;

    guint64 commit_id;
    GstStepscopeFramePath path;
    GstStepscopeFrameReason reason;
    gboolean repeated;
    guint64 step;
    guint64 virtual_time;
    guint64 input_sequence;
    guint64 damage_since;
};

GST_STEPSCOPE_API
GType gst_stepscope_frame_path_get_type(void);

GST_STEPSCOPE_API
GType gst_stepscope_frame_reason_get_type(void);

GST_STEPSCOPE_API
GType gst_stepscope_frame_meta_api_get_type(void);

GST_STEPSCOPE_API
const GstMetaInfo* gst_stepscope_frame_meta_get_info(void);

GST_STEPSCOPE_API
GstStepscopeFrameMeta* gst_buffer_add_stepscope_frame_meta(GstBuffer* buffer, guint64 commit_id,
                                                           GstStepscopeFramePath path,
                                                           GstStepscopeFrameReason reason,
                                                           gboolean repeated);

GST_STEPSCOPE_API
GstStepscopeFrameMeta* gst_buffer_get_stepscope_frame_meta(GstBuffer* buffer);

G_END_DECLS
