// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <string>

#include "gst/gst_ptr.hpp"

namespace stepscope::testing {

/** The error that a pipeline has posted and nobody read yet. */
inline std::string bus_error(GstElement* pipeline) {
    const GstPtr<GstBus> bus(gst_element_get_bus(pipeline));
    const GstPtr<GstMessage> message(gst_bus_pop_filtered(bus.get(), GST_MESSAGE_ERROR));
    if (!message) {
        return "no error";
    }
    GError* error = nullptr;
    gst_message_parse_error(message.get(), &error, nullptr);
    std::string text = error->message;
    g_error_free(error);
    return text;
}

}  // namespace stepscope::testing
