// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-client.h>

#include <memory>

#include "ext-image-capture-source-v1-client-protocol.h"
#include "ext-image-copy-capture-v1-client-protocol.h"
#include "linux-dmabuf-v1-client-protocol.h"
#include "wlr-screencopy-unstable-v1-client-protocol.h"

namespace stepscope {

struct WlDeleter {
    void operator()(wl_registry* object) const { wl_registry_destroy(object); }
    void operator()(wl_shm* object) const { wl_shm_destroy(object); }
    void operator()(wl_shm_pool* object) const { wl_shm_pool_destroy(object); }
    void operator()(wl_buffer* object) const { wl_buffer_destroy(object); }
    void operator()(wl_output* object) const { wl_output_release(object); }
    void operator()(zwp_linux_dmabuf_v1* object) const { zwp_linux_dmabuf_v1_destroy(object); }
    void operator()(zwp_linux_dmabuf_feedback_v1* object) const {
        zwp_linux_dmabuf_feedback_v1_destroy(object);
    }
    void operator()(zwp_linux_buffer_params_v1* object) const {
        zwp_linux_buffer_params_v1_destroy(object);
    }
    void operator()(ext_image_capture_source_v1* object) const {
        ext_image_capture_source_v1_destroy(object);
    }
    void operator()(ext_output_image_capture_source_manager_v1* object) const {
        ext_output_image_capture_source_manager_v1_destroy(object);
    }
    void operator()(ext_image_copy_capture_manager_v1* object) const {
        ext_image_copy_capture_manager_v1_destroy(object);
    }
    void operator()(ext_image_copy_capture_session_v1* object) const {
        ext_image_copy_capture_session_v1_destroy(object);
    }
    void operator()(ext_image_copy_capture_frame_v1* object) const {
        ext_image_copy_capture_frame_v1_destroy(object);
    }
    void operator()(zwlr_screencopy_manager_v1* object) const {
        zwlr_screencopy_manager_v1_destroy(object);
    }
    void operator()(zwlr_screencopy_frame_v1* object) const {
        zwlr_screencopy_frame_v1_destroy(object);
    }
};

/** Owns a Wayland proxy. */
template <typename T>
using WlPtr = std::unique_ptr<T, WlDeleter>;

}  // namespace stepscope
