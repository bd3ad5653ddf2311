// SPDX-License-Identifier: LGPL-2.1-or-later
#include "element_error.hpp"

namespace stepscope {
namespace {

GstResourceError resource_error_of(Fault fault) {
    switch (fault) {
        case Fault::usage:
            return GST_RESOURCE_ERROR_SETTINGS;
        case Fault::not_found:
            return GST_RESOURCE_ERROR_NOT_FOUND;
        case Fault::busy:
            return GST_RESOURCE_ERROR_BUSY;
        case Fault::permission:
            return GST_RESOURCE_ERROR_NOT_AUTHORIZED;
        case Fault::protocol:
        case Fault::gone:
            return GST_RESOURCE_ERROR_READ;
        case Fault::unsupported:
            return GST_RESOURCE_ERROR_SETTINGS;
        case Fault::system:
            break;
    }
    return GST_RESOURCE_ERROR_FAILED;
}

}  // namespace

void post_error(GstElement* element, const Error& error) {
    post_error(element, GST_RESOURCE_ERROR, resource_error_of(error.fault), error.message);
}

void post_error(GstElement* element, const Error& error, const std::string& debug) {
    gst_element_message_full(element, GST_MESSAGE_ERROR, GST_RESOURCE_ERROR,
                             resource_error_of(error.fault), g_strdup(error.message.c_str()),
                             debug.empty() ? nullptr : g_strdup(debug.c_str()), __FILE__, __func__,
                             __LINE__);
}

void post_error(GstElement* element, GQuark domain, int code, const std::string& message) {
    gst_element_message_full(element, GST_MESSAGE_ERROR, domain, code, g_strdup(message.c_str()),
                             nullptr, __FILE__, __func__, __LINE__);
}

}  // namespace stepscope
