// SPDX-License-Identifier: LGPL-2.1-or-later
#include "screencopy_properties.hpp"

#include <gst/gst.h>

#include "screencopy_capture.hpp"

namespace stepscope {
namespace {

constexpr guint kMaxMaxBuffers = 256;
constexpr guint kMaxFramesPerStep = 100'000;

GType mode_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstWlScreencopySrcMode::live:
             *
             * Since: 0.1
             */
            {static_cast<int>(CaptureMode::live),
             "The game runs by itself; buffers come as it draws", "live"},
            /**
             * GstWlScreencopySrcMode::lockstep:
             *
             * Since: 0.1
             */
            {static_cast<int>(CaptureMode::lockstep),
             "Time stands still in the game but for the step that each buffer takes", "lockstep"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstWlScreencopySrcMode", values);
    }();
    return type;
}

GType on_no_frame_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstWlScreencopySrcOnNoFrame::repeat:
             *
             * Since: 0.1
             */
            {static_cast<int>(OnNoFrame::repeat), "Push the last picture again, with the flag GAP",
             "repeat"},
            /**
             * GstWlScreencopySrcOnNoFrame::skip:
             *
             * Since: 0.1
             */
            {static_cast<int>(OnNoFrame::skip), "Push nothing and take the next step", "skip"},
            /**
             * GstWlScreencopySrcOnNoFrame::error:
             *
             * Since: 0.1
             */
            {static_cast<int>(OnNoFrame::error), "Fail", "error"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstWlScreencopySrcOnNoFrame", values);
    }();
    return type;
}

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

}  // namespace

void install_capture_properties(GObjectClass* object_class) {
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
     * GstWlScreencopySrc:display:
     *
     * Captures any other compositor instead of a session: the name of its socket in
     * XDG_RUNTIME_DIR, as in WAYLAND_DISPLAY, or the socket's path. Such a compositor copies each
     * picture.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_DISPLAY,
        g_param_spec_string("display", "Display",
                            "Another compositor to capture instead of a session: name or path of "
                            "its Wayland socket (unset = a session)",
                            nullptr, kReady));

    /**
     * GstWlScreencopySrc:output:
     *
     * With #GstWlScreencopySrc:display: the output to capture.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_OUTPUT,
        g_param_spec_string("output", "Output",
                            "With display: name of the output to capture (unset = the only one)",
                            nullptr, kReady));

    /**
     * GstWlScreencopySrc:region:
     *
     * With #GstWlScreencopySrc:display: the part of the output that buffers show, as
     * "X,Y,WIDTH,HEIGHT". The compositor copies all of the output; the rest is cut away without
     * another copy.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_REGION,
        g_param_spec_string("region", "Region",
                            "With display: rectangle of the output to show, as X,Y,WIDTH,HEIGHT "
                            "(pixels, unset = all of it)",
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
                          kMaxMaxBuffers, CaptureSettings().max_buffers, kReady));

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
     * * `imports`: memories that pictures came in, each counted once
     * * `steps`: steps taken, in lock-step
     * * `no-frame-steps`: those that showed no new picture
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_STATS,
        g_param_spec_boxed("stats", "Statistics",
                           "Counters since the start of the capture: frames, passed-through, "
                           "composed, copied, dropped, repeated, imports, steps, no-frame-steps",
                           GST_TYPE_STRUCTURE,
                           static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));

    /**
     * GstWlScreencopySrc:mode:
     *
     * Whether the game runs by itself or takes one step for each buffer.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_MODE,
        g_param_spec_enum("mode", "Mode",
                          "Whether the game runs by itself or takes one step for each buffer",
                          mode_type(), static_cast<int>(CaptureMode::live), kReady));

    /**
     * GstWlScreencopySrc:frames-per-step:
     *
     * In lock-step: how many steps a buffer takes. Only the last picture of them is pushed.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_FRAMES_PER_STEP,
        g_param_spec_uint("frames-per-step", "Frames per step",
                          "In lock-step: how many steps of the frame rate's period a buffer takes; "
                          "only their last picture is pushed (steps)",
                          1, kMaxFramesPerStep, StepSettings().frames_per_step, kReady));

    /**
     * GstWlScreencopySrc:timeout:
     *
     * In lock-step: wall-clock time that the game may take for one step. One that takes longer is
     * an error that names what still runs.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_TIMEOUT,
        g_param_spec_uint("timeout", "Timeout",
                          "In lock-step: wall-clock time that one step may take (milliseconds, 0 = "
                          "no limit)",
                          0, G_MAXINT, StepSettings().timeout_ms, kReady));

    /**
     * GstWlScreencopySrc:on-no-frame:
     *
     * In lock-step: what to push for steps that showed no new picture. Steps before the game's
     * first picture are skipped in any case.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_ON_NO_FRAME,
        g_param_spec_enum("on-no-frame", "On no frame",
                          "In lock-step: what to push for steps that showed no new picture",
                          on_no_frame_type(), static_cast<int>(StepSettings().on_no_frame),
                          kReady));

    /**
     * GstWlScreencopySrc:start-paused:
     *
     * In lock-step: take no step before PLAYING, and none while paused. There is no preroll then,
     * as with a live source.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_START_PAUSED,
        g_param_spec_boolean("start-paused", "Start paused",
                             "In lock-step: take steps in PLAYING only, so none for a preroll",
                             FALSE, kReady));

    gst_type_mark_as_plugin_api(mode_type(), static_cast<GstPluginAPIFlags>(0));
    gst_type_mark_as_plugin_api(on_no_frame_type(), static_cast<GstPluginAPIFlags>(0));
    gst_type_mark_as_plugin_api(cursor_type(), static_cast<GstPluginAPIFlags>(0));
    gst_type_mark_as_plugin_api(zero_copy_type(), static_cast<GstPluginAPIFlags>(0));
}

}  // namespace stepscope
