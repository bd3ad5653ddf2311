// SPDX-License-Identifier: LGPL-2.1-or-later
// Copies by ext-image-copy-capture-v1.
#include <cstring>
#include <limits>

#include "output_capture.hpp"

namespace stepscope {
namespace {

using Source = WlPtr<ext_image_capture_source_v1>;
using Session = WlPtr<ext_image_copy_capture_session_v1>;
using Frame = WlPtr<ext_image_copy_capture_frame_v1>;

class ExtCapture final : public OutputCapture {
public:
    ExtCapture(const DisplayConnection& display, const DisplayOutput& output, bool cursor,
               OutputCaptureHandler& handler)
        : handler_(handler),
          source_(ext_output_image_capture_source_manager_v1_create_source(display.ext_sources(),
                                                                           output.object.get())),
          session_(ext_image_copy_capture_manager_v1_create_session(
              display.ext_captures(), source_.get(),
              cursor ? EXT_IMAGE_COPY_CAPTURE_MANAGER_V1_OPTIONS_PAINT_CURSORS : 0)) {
        ext_image_copy_capture_session_v1_add_listener(session_.get(), &kSession, this);
    }

    bool idle() const override { return known_ && !frame_; }

    void copy_into(wl_buffer* buffer, uint32_t width, uint32_t height) override {
        picture_ = {};
        frame_.reset(ext_image_copy_capture_session_v1_create_frame(session_.get()));
        ext_image_copy_capture_frame_v1_add_listener(frame_.get(), &kFrame, this);
        ext_image_copy_capture_frame_v1_attach_buffer(frame_.get(), buffer);
        // The buffer may have missed any number of pictures.
        ext_image_copy_capture_frame_v1_damage_buffer(
            frame_.get(), 0, 0, static_cast<int32_t>(width), static_cast<int32_t>(height));
        ext_image_copy_capture_frame_v1_capture(frame_.get());
    }

private:
    static ExtCapture& self(void* data) { return *static_cast<ExtCapture*>(data); }

    static void buffer_size(void* data, ext_image_copy_capture_session_v1*, uint32_t width,
                            uint32_t height) {
        self(data).pending_.width = width;
        self(data).pending_.height = height;
    }
    static void shm_format(void* data, ext_image_copy_capture_session_v1*, uint32_t format) {
        self(data).pending_.shm_formats.push_back(drm_format_of_shm(format));
    }
    static void dmabuf_device(void* data, ext_image_copy_capture_session_v1*, wl_array* device) {
        uint64_t number = 0;
        if (device->size <= sizeof(number)) {
            std::memcpy(&number, device->data, device->size);
            self(data).pending_.device = number;
        }
    }
    static void dmabuf_format(void* data, ext_image_copy_capture_session_v1*, uint32_t format,
                              wl_array* modifiers) {
        for (size_t at = 0; at + sizeof(uint64_t) <= modifiers->size; at += sizeof(uint64_t)) {
            uint64_t modifier = 0;
            std::memcpy(&modifier, static_cast<const char*>(modifiers->data) + at,
                        sizeof(modifier));
            self(data).pending_.dmabuf_formats.emplace_back(format, modifier);
        }
    }
    static void done(void* data, ext_image_copy_capture_session_v1*) {
        ExtCapture& capture = self(data);
        capture.known_ = true;
        capture.handler_.handle_constraints(std::exchange(capture.pending_, {}));
    }
    static void stopped(void* data, ext_image_copy_capture_session_v1*) {
        self(data).handler_.handle_stopped();
    }

    static void transform(void*, ext_image_copy_capture_frame_v1*, uint32_t) {
        // Pictures come as they lie in the output's memory.
    }
    static void damage(void* data, ext_image_copy_capture_frame_v1*, int32_t x, int32_t y,
                       int32_t width, int32_t height) {
        if (x >= 0 && y >= 0 && width > 0 && height > 0) {
            self(data).picture_.damage.push_back(
                {static_cast<uint32_t>(x), static_cast<uint32_t>(y), static_cast<uint32_t>(width),
                 static_cast<uint32_t>(height)});
        }
    }
    static void presentation_time(void* data, ext_image_copy_capture_frame_v1*,
                                  uint32_t seconds_high, uint32_t seconds_low,
                                  uint32_t nanoseconds) {
        self(data).picture_.time_ns = picture_time(seconds_high, seconds_low, nanoseconds);
    }
    static void ready(void* data, ext_image_copy_capture_frame_v1*) {
        ExtCapture& capture = self(data);
        capture.frame_.reset();
        capture.handler_.handle_copied(std::exchange(capture.picture_, {}));
    }
    static void failed(void* data, ext_image_copy_capture_frame_v1*, uint32_t reason) {
        ExtCapture& capture = self(data);
        capture.frame_.reset();
        if (reason == EXT_IMAGE_COPY_CAPTURE_FRAME_V1_FAILURE_REASON_STOPPED) {
            capture.handler_.handle_stopped();
        } else {
            // With other constraints, if those were the reason, which come by themselves.
            capture.handler_.handle_failed();
        }
    }

    static constexpr ext_image_copy_capture_session_v1_listener kSession{
        buffer_size, shm_format, dmabuf_device, dmabuf_format, done, stopped};
    static constexpr ext_image_copy_capture_frame_v1_listener kFrame{
        transform, damage, presentation_time, ready, failed};

    OutputCaptureHandler& handler_;
    Source source_;
    Session session_;
    Frame frame_;
    bool known_ = false;
    CaptureConstraints pending_;
    CopiedPicture picture_;
};

}  // namespace

std::unique_ptr<OutputCapture> make_ext_capture(const DisplayConnection& display,
                                                const DisplayOutput& output, bool cursor,
                                                OutputCaptureHandler& handler) {
    return std::make_unique<ExtCapture>(display, output, cursor, handler);
}

}  // namespace stepscope
