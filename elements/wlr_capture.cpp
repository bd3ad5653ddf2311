// SPDX-License-Identifier: LGPL-2.1-or-later
// Copies by wlr-screencopy-unstable-v1.
#include <drm_fourcc.h>

#include "output_capture.hpp"

namespace stepscope {
namespace {

/** Since these versions: copies wait for damage; a compositor says when it has named all buffers.
 */
constexpr uint32_t kDamageSince = 2;
constexpr uint32_t kBufferDoneSince = 3;

class WlrCapture final : public OutputCapture {
public:
    WlrCapture(const DisplayConnection& display, const DisplayOutput& output, bool cursor,
               OutputCaptureHandler& handler)
        : handler_(handler), display_(display), output_(output), cursor_(cursor) {
        create_frame();
    }

    bool idle() const override { return frame_known_ && !copying_; }

    void copy_into(wl_buffer* buffer, uint32_t, uint32_t) override {
        copying_ = true;
        // The first is to come at once.
        if (copied_before_ && zwlr_screencopy_frame_v1_get_version(frame_.get()) >= kDamageSince) {
            zwlr_screencopy_frame_v1_copy_with_damage(frame_.get(), buffer);
        } else {
            zwlr_screencopy_frame_v1_copy(frame_.get(), buffer);
        }
    }

    void retry() override { create_frame(); }

private:
    static WlrCapture& self(void* data) { return *static_cast<WlrCapture*>(data); }

    /** Each frame names its buffers anew. */
    void create_frame() {
        pending_ = {};
        picture_ = {};
        frame_known_ = false;
        copying_ = false;
        frame_.reset(zwlr_screencopy_manager_v1_capture_output(
            display_.wlr_screencopy(), cursor_ ? 1 : 0, output_.object.get()));
        zwlr_screencopy_frame_v1_add_listener(frame_.get(), &kFrame, this);
    }

    void take_size(uint32_t width, uint32_t height) {
        pending_.width = width;
        pending_.height = height;
    }

    static void buffer(void* data, zwlr_screencopy_frame_v1* frame, uint32_t format, uint32_t width,
                       uint32_t height, uint32_t stride) {
        WlrCapture& capture = self(data);
        capture.take_size(width, height);
        capture.pending_.shm_formats.push_back(drm_format_of_shm(format));
        capture.pending_.shm_stride = stride;
        if (zwlr_screencopy_frame_v1_get_version(frame) < kBufferDoneSince) {
            buffer_done(data, frame);
        }
    }
    static void linux_dmabuf(void* data, zwlr_screencopy_frame_v1*, uint32_t format, uint32_t width,
                             uint32_t height) {
        self(data).take_size(width, height);
        // The protocol knows no modifiers; linear is what every compositor can write.
        self(data).pending_.dmabuf_formats.emplace_back(format, DRM_FORMAT_MOD_LINEAR);
    }
    static void buffer_done(void* data, zwlr_screencopy_frame_v1*) {
        WlrCapture& capture = self(data);
        capture.frame_known_ = true;
        capture.pending_.device = capture.display_.main_device();
        if (capture.pending_ != capture.known_) {
            capture.known_ = capture.pending_;
            capture.handler_.handle_constraints(capture.known_);
        }
    }
    static void flags(void* data, zwlr_screencopy_frame_v1*, uint32_t flags) {
        self(data).picture_.upside_down = (flags & ZWLR_SCREENCOPY_FRAME_V1_FLAGS_Y_INVERT) != 0;
    }
    static void damage(void* data, zwlr_screencopy_frame_v1*, uint32_t x, uint32_t y,
                       uint32_t width, uint32_t height) {
        self(data).picture_.damage.push_back({x, y, width, height});
    }
    static void ready(void* data, zwlr_screencopy_frame_v1*, uint32_t seconds_high,
                      uint32_t seconds_low, uint32_t nanoseconds) {
        WlrCapture& capture = self(data);
        CopiedPicture picture = std::move(capture.picture_);
        picture.time_ns = picture_time(seconds_high, seconds_low, nanoseconds);
        capture.copied_before_ = true;
        capture.create_frame();
        capture.handler_.handle_copied(std::move(picture));
    }
    static void failed(void* data, zwlr_screencopy_frame_v1*) {
        // Also without a copy under way: the output is off, or gone.
        WlrCapture& capture = self(data);
        if (capture.output_.gone) {
            capture.handler_.handle_stopped();
            return;
        }
        capture.frame_known_ = false;
        capture.handler_.handle_failed();
    }

    static constexpr zwlr_screencopy_frame_v1_listener kFrame{
        buffer, flags, ready, failed, damage, linux_dmabuf, buffer_done};

    OutputCaptureHandler& handler_;
    const DisplayConnection& display_;
    const DisplayOutput& output_;
    const bool cursor_;
    WlPtr<zwlr_screencopy_frame_v1> frame_;
    bool frame_known_ = false;
    bool copying_ = false;
    bool copied_before_ = false;
    CaptureConstraints pending_;
    CaptureConstraints known_;
    CopiedPicture picture_;
};

}  // namespace

std::unique_ptr<OutputCapture> make_wlr_capture(const DisplayConnection& display,
                                                const DisplayOutput& output, bool cursor,
                                                OutputCaptureHandler& handler) {
    return std::make_unique<WlrCapture>(display, output, cursor, handler);
}

}  // namespace stepscope
