/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/gst.h>

#ifndef GST_STEPSCOPE_API
#define GST_STEPSCOPE_API __attribute__((visibility("default"))) extern
#endif
