// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <string>

namespace stepscope {

/** A GstContext that any consumer may answer with; its structure has the string `path`. */
inline constexpr const char* kDrmDeviceContext = "stepscope.drm-device";

/**
 * Path of the DRM node with which the elements behind `pad` read, as the first that answers a
 * context query says: those of VA, and who knows kDrmDeviceContext. Empty if none does. On the
 * streaming thread.
 */
std::string consumer_device(GstPad* pad);

/** Whether both paths are nodes of one device; true where that can't be told. */
bool is_same_device(const std::string& one, const std::string& other);

}  // namespace stepscope
