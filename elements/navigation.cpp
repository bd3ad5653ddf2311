// SPDX-License-Identifier: LGPL-2.1-or-later
#include "navigation.hpp"

#include <gst/video/navigation.h>

namespace stepscope {

Result<bool> inject_navigation(InputInjector& injector, GstEvent* event, uint32_t width,
                               uint32_t height) {
    const GstNavigationEventType type = gst_navigation_event_get_type(event);
    double x = 0;
    double y = 0;
    Result<void> done;
    switch (type) {
        case GST_NAVIGATION_EVENT_KEY_PRESS:
        case GST_NAVIGATION_EVENT_KEY_RELEASE: {
            const char* key = nullptr;
            if (!gst_navigation_event_parse_key_event(event, &key) || key == nullptr) {
                return false;
            }
            done = injector.key(key, type == GST_NAVIGATION_EVENT_KEY_PRESS);
            break;
        }
        case GST_NAVIGATION_EVENT_MOUSE_MOVE:
            if (!gst_navigation_event_parse_mouse_move_event(event, &x, &y)) {
                return false;
            }
            injector.move(x, y, width, height);
            break;
        case GST_NAVIGATION_EVENT_MOUSE_BUTTON_PRESS:
        case GST_NAVIGATION_EVENT_MOUSE_BUTTON_RELEASE: {
            int button = 0;
            if (!gst_navigation_event_parse_mouse_button_event(event, &button, &x, &y)) {
                return false;
            }
            injector.move(x, y, width, height);
            done = injector.button(button, type == GST_NAVIGATION_EVENT_MOUSE_BUTTON_PRESS);
            break;
        }
        case GST_NAVIGATION_EVENT_MOUSE_SCROLL: {
            double right = 0;
            double up = 0;
            if (!gst_navigation_event_parse_mouse_scroll_event(event, &x, &y, &right, &up)) {
                return false;
            }
            injector.move(x, y, width, height);
            injector.scroll(right, up);
            break;
        }
        default:
            return false;
    }
    injector.flush();
    if (!done) {
        return std::unexpected(done.error());
    }
    return true;
}

}  // namespace stepscope
