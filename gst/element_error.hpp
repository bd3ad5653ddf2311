// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include "base/error.hpp"

namespace stepscope {

/** Posts `error` as the element's error message. Hold no lock that a bus handler could want. */
void post_error(GstElement* element, const Error& error);

/** The same with more for the debug text: several lines, such as the end of a log. */
void post_error(GstElement* element, const Error& error, const std::string& debug);

/** The same with a domain and code of the caller's choice, e.g. GST_CORE_ERROR_NEGOTIATION. */
void post_error(GstElement* element, GQuark domain, int code, const std::string& message);

}  // namespace stepscope
