/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stepscope-frame-meta.h"

/**
 * SECTION:gststepscopeframemeta
 * @title: GstStepscopeFrameMeta
 * @short_description: where a captured picture comes from
 *
 * Every buffer of `wlscreencopysrc` carries this meta.
 */

GType gst_stepscope_frame_path_get_type(void) {
    static gsize type = 0;
    static const GEnumValue values[] = {
        {GST_STEPSCOPE_FRAME_PATH_PASSED_THROUGH, "The memory that the game drew into",
         "passed-through"},
        {GST_STEPSCOPE_FRAME_PATH_COMPOSED, "Drawn by the compositor", "composed"},
        {GST_STEPSCOPE_FRAME_PATH_COPIED, "One full picture, copied", "copied"},
        {0, NULL, NULL},
    };
    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, g_enum_register_static("GstStepscopeFramePath", values));
    }
    return (GType)type;
}

GType gst_stepscope_frame_reason_get_type(void) {
    static gsize type = 0;
    static const GEnumValue values[] = {
        {GST_STEPSCOPE_FRAME_REASON_NONE, "It passed through the compositor", "none"},
        {GST_STEPSCOPE_FRAME_REASON_WINDOWS, "More than one surface is visible", "windows"},
        {GST_STEPSCOPE_FRAME_REASON_SIZE, "The game's picture is not of the output's size", "size"},
        {GST_STEPSCOPE_FRAME_REASON_CURSOR, "The cursor is drawn into the picture", "cursor"},
        {GST_STEPSCOPE_FRAME_REASON_NOT_SHAREABLE,
         "The game's memory can't be protected against shrinking", "not-shareable"},
        {GST_STEPSCOPE_FRAME_REASON_HELD,
         "Consumers hold as many of the game's buffers as it can spare", "held"},
        {GST_STEPSCOPE_FRAME_REASON_FORMAT, "The game's format can't be described to the consumer",
         "format"},
        {GST_STEPSCOPE_FRAME_REASON_NO_WINDOW, "There is no window", "no-window"},
        {GST_STEPSCOPE_FRAME_REASON_OTHER, "The renderer decided so", "other"},
        {GST_STEPSCOPE_FRAME_REASON_SCREENCOPY, "Another compositor was captured, which copies",
         "screencopy"},
        {0, NULL, NULL},
    };
    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, g_enum_register_static("GstStepscopeFrameReason", values));
    }
    return (GType)type;
}

GType gst_stepscope_frame_meta_api_get_type(void) {
    static gsize type = 0;
    /* No tags: cropping, scaling or converting a picture does not change where it came from. */
    static const gchar* tags[] = {NULL};
    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, gst_meta_api_type_register("GstStepscopeFrameMetaAPI", tags));
    }
    return (GType)type;
}

static gboolean frame_meta_init(GstMeta* meta, gpointer params, GstBuffer* buffer) {
    GstStepscopeFrameMeta* self = (GstStepscopeFrameMeta*)meta;
    self->commit_id = 0;
    self->path = GST_STEPSCOPE_FRAME_PATH_COPIED;
    self->reason = GST_STEPSCOPE_FRAME_REASON_NONE;
    self->repeated = FALSE;
    self->step = 0;
    self->virtual_time = 0;
    self->input_sequence = 0;
    self->damage_since = 0;
    return TRUE;
}

static gboolean frame_meta_transform(GstBuffer* destination, GstMeta* meta, GstBuffer* source,
                                     GQuark type, gpointer data) {
    const GstStepscopeFrameMeta* self = (const GstStepscopeFrameMeta*)meta;
    GstStepscopeFrameMeta* copy = gst_buffer_add_stepscope_frame_meta(
        destination, self->commit_id, self->path, self->reason, self->repeated);
    if (copy == NULL) {
        return FALSE;
    }
    copy->step = self->step;
    copy->virtual_time = self->virtual_time;
    copy->input_sequence = self->input_sequence;
    copy->damage_since = self->damage_since;
    return TRUE;
}

/**
 * gst_stepscope_frame_meta_get_info: (skip)
 *
 * Returns: the registered implementation of #GstStepscopeFrameMeta
 *
 * Since: 0.1
 */
const GstMetaInfo* gst_stepscope_frame_meta_get_info(void) {
    static const GstMetaInfo* info = NULL;
    if (g_once_init_enter(&info)) {
        const GstMetaInfo* registered = gst_meta_register(
            GST_STEPSCOPE_FRAME_META_API_TYPE, "GstStepscopeFrameMeta",
            sizeof(GstStepscopeFrameMeta), frame_meta_init, NULL, frame_meta_transform);
        g_once_init_leave(&info, registered);
    }
    return info;
}

/**
 * gst_buffer_add_stepscope_frame_meta:
 * @buffer: (transfer none): a writable buffer
 * @commit_id: number of the picture
 * @path: how the picture got into the buffer's memory
 * @reason: why it did not pass through
 * @repeated: whether it was pushed before
 *
 * Returns: (transfer none): the meta, which belongs to @buffer
 *
 * Since: 0.1
 */
GstStepscopeFrameMeta* gst_buffer_add_stepscope_frame_meta(GstBuffer* buffer, guint64 commit_id,
                                                           GstStepscopeFramePath path,
                                                           GstStepscopeFrameReason reason,
                                                           gboolean repeated) {
    g_return_val_if_fail(GST_IS_BUFFER(buffer), NULL);

    GstStepscopeFrameMeta* meta =
        (GstStepscopeFrameMeta*)gst_buffer_add_meta(buffer, GST_STEPSCOPE_FRAME_META_INFO, NULL);
    if (meta == NULL) {
        return NULL;
    }
    meta->commit_id = commit_id;
    meta->path = path;
    meta->reason = reason;
    meta->repeated = repeated;
    return meta;
}

/**
 * gst_buffer_get_stepscope_frame_meta:
 * @buffer: (transfer none): a buffer
 *
 * Returns: (transfer none) (nullable): the meta, which belongs to @buffer
 *
 * Since: 0.1
 */
GstStepscopeFrameMeta* gst_buffer_get_stepscope_frame_meta(GstBuffer* buffer) {
    g_return_val_if_fail(GST_IS_BUFFER(buffer), NULL);

    return (GstStepscopeFrameMeta*)gst_buffer_get_meta(buffer, GST_STEPSCOPE_FRAME_META_API_TYPE);
}
