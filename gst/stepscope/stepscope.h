/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/stepscope/stepscope-fence-meta.h>
#include <gst/stepscope/stepscope-frame-meta.h>
#include <gst/stepscope/stepscope-prelude.h>
