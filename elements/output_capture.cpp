// SPDX-License-Identifier: LGPL-2.1-or-later
#include "output_capture.hpp"

#include <drm_fourcc.h>

namespace stepscope {

std::unique_ptr<OutputCapture> make_output_capture(const DisplayConnection& display,
                                                   const DisplayOutput& output, bool cursor,
                                                   OutputCaptureHandler& handler) {
    return display.has_ext() ? make_ext_capture(display, output, cursor, handler)
                             : make_wlr_capture(display, output, cursor, handler);
}

uint64_t picture_time(uint32_t seconds_high, uint32_t seconds_low, uint32_t nanoseconds) {
    constexpr uint64_t kSecond = 1'000'000'000;
    const uint64_t seconds = uint64_t{seconds_high} << 32 | seconds_low;
    if (nanoseconds >= kSecond || seconds > UINT64_MAX / kSecond - 1) {
        return 0;
    }
    return seconds * kSecond + nanoseconds;
}

uint32_t drm_format_of_shm(uint32_t format) {
    switch (format) {
        case WL_SHM_FORMAT_ARGB8888:
            return DRM_FORMAT_ARGB8888;
        case WL_SHM_FORMAT_XRGB8888:
            return DRM_FORMAT_XRGB8888;
        default:
            return format;  // all others are the same
    }
}

}  // namespace stepscope
