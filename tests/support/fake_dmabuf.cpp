// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_dmabuf.hpp"

#include <wayland-server-protocol.h>

#include "base/unique_fd.hpp"
#include "linux-dmabuf-v1-server-protocol.h"

namespace stepscope::test {
namespace {

void destroy_resource(wl_client*, wl_resource* resource) {
    wl_resource_destroy(resource);
}

/** Parameters, and the buffer that is made of them. */
struct Buffer {
    UniqueFd fd;
    uint32_t stride = 0;
};

bool refuses = false;

Buffer& self(wl_resource* resource) {
    return *static_cast<Buffer*>(wl_resource_get_user_data(resource));
}

void delete_buffer(wl_resource* resource) {
    delete &self(resource);
}

constexpr struct wl_buffer_interface kBuffer{destroy_resource};

void add(wl_client*, wl_resource* params, int32_t fd, uint32_t plane, uint32_t, uint32_t stride,
         uint32_t, uint32_t) {
    UniqueFd owned(fd);
    if (plane == 0) {
        self(params).fd = std::move(owned);
        self(params).stride = stride;
    }
}

void create(wl_client* client, wl_resource* params, int32_t, int32_t, uint32_t, uint32_t) {
    if (refuses) {
        zwp_linux_buffer_params_v1_send_failed(params);
        return;
    }
    wl_resource* buffer = wl_resource_create(client, &wl_buffer_interface, 1, 0);
    wl_resource_set_implementation(buffer, &kBuffer, new Buffer(std::move(self(params))),
                                   delete_buffer);
    zwp_linux_buffer_params_v1_send_created(params, buffer);
}

constexpr struct zwp_linux_buffer_params_v1_interface kParams{
    destroy_resource, add, create,
    [](wl_client*, wl_resource* params, uint32_t, int32_t, int32_t, uint32_t, uint32_t) {
        wl_resource_post_error(params, 0, "the fake has no create_immed");
    }};

constexpr struct zwp_linux_dmabuf_v1_interface kDmabuf{
    destroy_resource,
    [](wl_client* client, wl_resource*, uint32_t id) {
        wl_resource* params =
            wl_resource_create(client, &zwp_linux_buffer_params_v1_interface, 3, id);
        wl_resource_set_implementation(params, &kParams, new Buffer, delete_buffer);
    },
    nullptr, nullptr};

}  // namespace

void offer_fake_dmabuf(wl_display* display) {
    // Version 3 names no device.
    wl_global_create(display, &zwp_linux_dmabuf_v1_interface, 3, nullptr,
                     [](wl_client* client, void*, uint32_t version, uint32_t id) {
                         wl_resource* resource = wl_resource_create(
                             client, &zwp_linux_dmabuf_v1_interface, static_cast<int>(version), id);
                         wl_resource_set_implementation(resource, &kDmabuf, nullptr, nullptr);
                     });
}

int fake_dmabuf_fd(wl_resource* buffer) {
    return wl_resource_instance_of(buffer, &wl_buffer_interface, &kBuffer) != 0
               ? self(buffer).fd.get()
               : -1;
}

uint32_t fake_dmabuf_stride(wl_resource* buffer) {
    return fake_dmabuf_fd(buffer) >= 0 ? self(buffer).stride : 0;
}

void refuse_fake_dmabufs(bool refuse) {
    refuses = refuse;
}

}  // namespace stepscope::test
