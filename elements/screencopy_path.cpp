// SPDX-License-Identifier: LGPL-2.1-or-later
// What ScreencopyCapture says of the way of pictures.
#include <array>
#include <bit>
#include <format>

#include "consumer_device.hpp"
#include "frame_buffer.hpp"
#include "screencopy_capture.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

namespace stepscope {

void ScreencopyCapture::announce_path(const CapturedFrame& frame) {
    const PictureFormat& format = frame.format();
    // Whose memory, where there is a choice; and why not downstream's.
    const bool downstream = frame.buffer != nullptr;
    const std::string own_reason = downstream ? "" : source_->own_memory_reason();
    const std::tuple now(frame.info.path, frame.info.reason, format, consumer_device_, downstream,
                         own_reason);
    if (announced_ == now) {
        return;
    }
    announced_ = now;
    const auto fourcc = std::bit_cast<std::array<char, 4>>(GUINT32_TO_LE(format.fourcc));
    GST_INFO_OBJECT(element_, "pictures are %s now (%s)", nick_of(frame.info.path),
                    nick_of(frame.info.reason));
    gst_element_post_message(
        element(),
        gst_message_new_element(
            GST_OBJECT(element_),
            gst_structure_new("stepscope-path", "path", G_TYPE_STRING, nick_of(frame.info.path),
                              "reason", G_TYPE_STRING, nick_of(frame.info.reason), "width",
                              G_TYPE_UINT, format.width, "height", G_TYPE_UINT, format.height,
                              "memory", G_TYPE_STRING, frame.is_dmabuf() ? "dmabuf" : "memfd",
                              "fourcc", G_TYPE_STRING,
                              std::string(fourcc.begin(), fourcc.end()).c_str(), "modifier",
                              G_TYPE_UINT64, format.modifier, "device", G_TYPE_STRING,
                              source_->device().c_str(), "consumer-device", G_TYPE_STRING,
                              consumer_device_.c_str(), "allocator", G_TYPE_STRING,
                              downstream                   ? "downstream"
                              : source_->formats().empty() ? "session"
                                                           : "own",
                              "allocator-reason", G_TYPE_STRING, own_reason.c_str(), nullptr)));
    warn_of_other_device(format);
}

// It may work, as each driver decides what it imports: no error.
void ScreencopyCapture::warn_of_other_device(const PictureFormat& format) {
    const std::string device = source_->device();
    if (format.memory != MemoryKind::dmabuf || device.empty() || consumer_device_.empty() ||
        consumer_device_ == warned_of_device_ || is_same_device(device, consumer_device_)) {
        return;
    }
    warned_of_device_ = consumer_device_;
    const std::string message = std::format(
        "pictures of {} are on {}, but downstream reads them with {}: each has to cross from one "
        "device to the other, if it can be read at all{}",
        source_->name(), device, consumer_device_,
        source_->formats().empty()
            ? std::format("; start the session with --render-node {}", consumer_device_)
            : "");
    gst_element_message_full(element(), GST_MESSAGE_WARNING, GST_RESOURCE_ERROR,
                             GST_RESOURCE_ERROR_SETTINGS, g_strdup(message.c_str()), nullptr,
                             __FILE__, __func__, __LINE__);
}

}  // namespace stepscope
