// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hostile_client.hpp"

#include <wayland-client.h>

#include <cstring>
#include <format>
#include <ranges>

#include "linux-dmabuf-v1-client-protocol.h"
#include "requirement.hpp"
#include "xdg-shell-client-protocol.h"

namespace stepscope::testing {
HostileClient::HostileClient(const std::string& socket)
    : display_(wl_display_connect(socket.c_str())) {
    REQUIRE(display_ != nullptr);
    static const wl_registry_listener listener{
        .global =
            [](void* data, wl_registry* registry, uint32_t name, const char* interface, uint32_t) {
                auto& self = *static_cast<HostileClient*>(data);
                auto bind = [&](auto*& target, const wl_interface& known, uint32_t version) {
                    if (std::strcmp(interface, known.name) == 0) {
                        target = self.own(static_cast<std::remove_reference_t<decltype(target)>>(
                            wl_registry_bind(registry, name, &known, version)));
                    }
                };
                bind(self.compositor_, wl_compositor_interface, 4);
                bind(self.wm_base_, xdg_wm_base_interface, 1);
                bind(self.dmabuf_, zwp_linux_dmabuf_v1_interface, 3);
            },
        .global_remove = [](void*, wl_registry*, uint32_t) {},
    };
    wl_registry_add_listener(own(wl_display_get_registry(display_)), &listener, this);
    wl_display_roundtrip(display_);
    REQUIRE(compositor_ != nullptr);
    REQUIRE(wm_base_ != nullptr);
    REQUIRE(dmabuf_ != nullptr);
    map_window();
}

HostileClient::~HostileClient() {
    for (const auto& proxy : proxies_ | std::views::reverse) {
        wl_proxy_destroy(proxy);
    }
    wl_display_disconnect(display_);
}

template <typename T>
T* HostileClient::own(T* proxy) {
    proxies_.push_back(reinterpret_cast<wl_proxy*>(proxy));
    return proxy;
}

zwp_linux_buffer_params_v1* HostileClient::make_params(const ClaimedBuffer& claimed) {
    zwp_linux_buffer_params_v1* params = own(zwp_linux_dmabuf_v1_create_params(dmabuf_));
    for (const ClaimedPlane& plane : claimed.planes) {
        zwp_linux_buffer_params_v1_add(params, plane.fd, plane.index, plane.offset, plane.stride,
                                       static_cast<uint32_t>(plane.modifier >> 32),
                                       static_cast<uint32_t>(plane.modifier));
    }
    return params;
}

void HostileClient::map_window() {
    surface_ = own(wl_compositor_create_surface(compositor_));
    xdg_surface* shell = own(xdg_wm_base_get_xdg_surface(wm_base_, surface_));
    static const xdg_surface_listener listener{
        .configure = [](void* data, xdg_surface* surface, uint32_t serial) {
            xdg_surface_ack_configure(surface, serial);
            static_cast<HostileClient*>(data)->configured_ = true;
        }};
    xdg_surface_add_listener(shell, &listener, this);
    xdg_toplevel_set_fullscreen(own(xdg_surface_get_toplevel(shell)), nullptr);
    wl_surface_commit(surface_);
    while (!configured_) {
        REQUIRE(wl_display_roundtrip(display_) >= 0);
    }
}

void HostileClient::show(const ClaimedBuffer& claimed) {
    zwp_linux_buffer_params_v1* params = make_params(claimed);
    width_ = claimed.width;
    height_ = claimed.height;
    buffer_ = own(zwp_linux_buffer_params_v1_create_immed(params, width_, height_, claimed.format,
                                                          claimed.flags));
    show_again();
}

void HostileClient::show_again() {
    wl_surface_attach(surface_, buffer_, 0, 0);
    wl_surface_damage_buffer(surface_, 0, 0, width_, height_);
    wl_surface_commit(surface_);
}

bool HostileClient::is_refused(const ClaimedBuffer& claimed) {
    zwp_linux_buffer_params_v1* params = make_params(claimed);
    static const zwp_linux_buffer_params_v1_listener listener{
        .created = [](void* data, zwp_linux_buffer_params_v1*,
                      wl_buffer* buffer) { static_cast<HostileClient*>(data)->own(buffer); },
        .failed =
            [](void* data, zwp_linux_buffer_params_v1*) {
                static_cast<HostileClient*>(data)->refused_ = true;
            },
    };
    refused_ = false;
    zwp_linux_buffer_params_v1_add_listener(params, &listener, this);
    zwp_linux_buffer_params_v1_create(params, claimed.width, claimed.height, claimed.format,
                                      claimed.flags);
    wl_display_roundtrip(display_);
    return refused_;
}

std::string HostileClient::protocol_error() {
    for (int trip = 0; trip < 2 && wl_display_roundtrip(display_) >= 0; ++trip) {
    }
    if (wl_display_get_error(display_) == 0) {
        return {};
    }
    const wl_interface* interface = nullptr;
    const uint32_t code = wl_display_get_protocol_error(display_, &interface, nullptr);
    return std::format("{}: {}", interface != nullptr ? interface->name : "unknown", code);
}

}  // namespace stepscope::testing
