// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/base/gstpushsrc.h>

G_BEGIN_DECLS

#define GST_TYPE_STEP_SOUND_SRC (gst_step_sound_src_get_type())
G_DECLARE_FINAL_TYPE(GstStepSoundSrc, gst_step_sound_src, GST, STEP_SOUND_SRC, GstPushSrc)

GST_ELEMENT_REGISTER_DECLARE(stepsoundsrc);

G_END_DECLS
