// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct wl_buffer;
struct wl_compositor;
struct wl_display;
struct wl_proxy;
struct wl_surface;
struct xdg_surface;
struct xdg_wm_base;
struct zwp_linux_buffer_params_v1;
struct zwp_linux_dmabuf_v1;

namespace stepscope::testing {

/** What a client says of one plane of a buffer. The descriptor is borrowed. */
struct ClaimedPlane {
    uint32_t index = 0;
    int fd = -1;
    uint32_t offset = 0;
    uint32_t stride = 0;
    uint64_t modifier = 0;
};

/** What a client says of a buffer. */
struct ClaimedBuffer {
    int width = 0;
    int height = 0;
    uint32_t format = 0;
    uint32_t flags = 0;
    std::vector<ClaimedPlane> planes;
};

/** A Wayland client with a window, which says of its DMA-BUFs whatever it is told to. */
class HostileClient {
public:
    /** `socket`: path of the display. The window may be given a buffer when this returns. */
    explicit HostileClient(const std::string& socket);
    HostileClient(const HostileClient&) = delete;
    HostileClient& operator=(const HostileClient&) = delete;
    ~HostileClient();

    /** Makes the buffer with create_immed and shows it. It is sent with what asks for an answer:
     * who writes to a connection that was ended meanwhile may not get to read why. */
    void show(const ClaimedBuffer& claimed);
    /** Shows the last buffer again. */
    void show_again();
    /** Makes the buffer with create; true if the answer is "failed". */
    bool is_refused(const ClaimedBuffer& claimed);
    /** "interface: code" of the protocol error that ended the client; empty if it lives. */
    std::string protocol_error();

private:
    void map_window();
    template <typename T>
    T* own(T* proxy);
    zwp_linux_buffer_params_v1* make_params(const ClaimedBuffer& claimed);

    wl_display* display_ = nullptr;
    wl_compositor* compositor_ = nullptr;
    xdg_wm_base* wm_base_ = nullptr;
    zwp_linux_dmabuf_v1* dmabuf_ = nullptr;
    wl_surface* surface_ = nullptr;
    wl_buffer* buffer_ = nullptr;
    /** All of them, whoever uses them: a connection that ends does not free them. */
    std::vector<wl_proxy*> proxies_;
    bool configured_ = false;
    bool refused_ = false;
    int width_ = 0;
    int height_ = 0;
};

}  // namespace stepscope::testing
