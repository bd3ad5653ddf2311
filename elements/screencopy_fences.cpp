// SPDX-License-Identifier: LGPL-2.1-or-later
// What ScreencopyCapture does about frames that may not be read yet.
#include "frame_buffer.hpp"
#include "screencopy_capture.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

namespace stepscope {
namespace {

/** How long a fence can delay a flush. */
constexpr GstClockTime kPatience = 20 * GST_MSECOND;

}  // namespace

// Who reads with the CPU has to wait for the fence anyway. Who does not, and knows the fence meta,
// waits in the way that suits it. For everybody else the fence goes into the memory.
ScreencopyCapture::Fate ScreencopyCapture::settle_fence(const CapturedFrame& frame, bool copied) {
    if (!frame.fence || gst_stepscope_fence_is_ready(frame.fence.get())) {
        return Fate::push;
    }
    ++stats_.fences;
    if (!copied && peer_reads_fences_) {
        return Fate::push;
    }
    if (!copied && !plain_memory_) {
        auto imported = import_fence(frame);
        if (imported) {
            ++stats_.fences_imported;
            return Fate::push;
        }
        if (!wait_announced_) {
            wait_announced_ = true;
            GST_WARNING_OBJECT(element_, "waiting for fences: %s",
                               imported.error().message.c_str());
            gst_element_post_message(
                element(), gst_message_new_element(
                               GST_OBJECT(element_),
                               gst_structure_new("stepscope-fence-wait", "reason", G_TYPE_STRING,
                                                 imported.error().message.c_str(), nullptr)));
        }
    }
    ++stats_.fences_waited;
    return wait_for_fence(frame.fence.get());
}

ScreencopyCapture::Fate ScreencopyCapture::wait_for_fence(GstStepscopeFence* fence) {
    while (!gst_stepscope_fence_wait(fence, kPatience, nullptr, nullptr)) {
        if (flushing_ || ended_) {
            return Fate::flushing;
        }
    }
    return Fate::push;
}

}  // namespace stepscope
