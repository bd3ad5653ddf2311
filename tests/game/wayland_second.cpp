// SPDX-License-Identifier: LGPL-2.1-or-later
#include <nlohmann/json.hpp>
#include <utility>

#include "painter.hpp"
#include "wayland_window.hpp"

namespace stepscope::testgame {

const xdg_surface_listener WaylandSecond::kSurfaceListener = {
    .configure =
        [](void* data, xdg_surface* shell_surface, uint32_t serial) {
            auto& self = *static_cast<WaylandSecond*>(data);
            xdg_surface_ack_configure(shell_surface, serial);
            if (!self.shown_) {
                self.shown_ = true;
                self.buffer_.attach(self.surface_.get());
                self.game_.report().write(self.kind_ == Kind::dialog ? "dialog_shown"
                                                                     : "popup_shown");
            }
            wl_surface_commit(self.surface_.get());
        },
};

const xdg_toplevel_listener WaylandSecond::kToplevelListener = {
    .configure = [](void*, xdg_toplevel*, int32_t, int32_t, wl_array*) {},
    .close = [](void* data,
                xdg_toplevel*) { static_cast<WaylandSecond*>(data)->dismissed_ = true; },
    .configure_bounds = [](void*, xdg_toplevel*, int32_t, int32_t) {},
    .wm_capabilities = [](void*, xdg_toplevel*, wl_array*) {},
};

const xdg_popup_listener WaylandSecond::kPopupListener = {
    .configure = [](void*, xdg_popup*, int32_t, int32_t, int32_t, int32_t) {},
    .popup_done = [](void* data,
                     xdg_popup*) { static_cast<WaylandSecond*>(data)->dismissed_ = true; },
    .repositioned = [](void*, xdg_popup*, uint32_t) {},
};

Result<std::unique_ptr<WaylandSecond>> WaylandSecond::open(const WaylandGlobals& globals,
                                                           Game& game, const WaylandWindow& parent,
                                                           Kind kind) {
    auto images = create_images(1, kind == Kind::dialog ? kDialogWidth : kPopupWidth,
                                kind == Kind::dialog ? kDialogHeight : kPopupHeight, true, false);
    if (!images) {
        return std::unexpected(images.error());
    }
    return std::unique_ptr<WaylandSecond>(
        new WaylandSecond(globals, game, parent, kind, images->front()));
}

WaylandSecond::WaylandSecond(const WaylandGlobals& globals, Game& game, const WaylandWindow& parent,
                             Kind kind, const ShmImage& image)
    : game_(game),
      kind_(kind),
      surface_(wl_compositor_create_surface(globals.compositor.get())),
      shell_surface_(xdg_wm_base_get_xdg_surface(globals.wm_base.get(), surface_.get())),
      buffer_(globals, image, WL_SHM_FORMAT_XRGB8888, nullptr) {
    paint_solid(image.pixels(), kind == Kind::dialog ? kDialogColour : kPopupColour);
    xdg_surface_add_listener(shell_surface_.get(), &kSurfaceListener, this);
    if (kind == Kind::dialog) {
        make_dialog(parent);
    } else {
        make_popup(globals, parent, image);
    }
    wl_surface_commit(surface_.get());
}

void WaylandSecond::make_dialog(const WaylandWindow& parent) {
    toplevel_.reset(xdg_surface_get_toplevel(shell_surface_.get()));
    xdg_toplevel_add_listener(toplevel_.get(), &kToplevelListener, this);
    xdg_toplevel_set_title(toplevel_.get(), "Dialog");
    xdg_toplevel_set_app_id(toplevel_.get(), game_.options().app_id.c_str());
    xdg_toplevel_set_parent(toplevel_.get(), parent.toplevel());
    xdg_toplevel_set_min_size(toplevel_.get(), kDialogWidth, kDialogHeight);
    xdg_toplevel_set_max_size(toplevel_.get(), kDialogWidth, kDialogHeight);
}

void WaylandSecond::make_popup(const WaylandGlobals& globals, const WaylandWindow& parent,
                               const ShmImage& image) {
    const WlPtr<xdg_positioner> place(xdg_wm_base_create_positioner(globals.wm_base.get()));
    xdg_positioner_set_size(place.get(), image.width, image.height);
    // Right below the codes, so that they stay readable.
    xdg_positioner_set_anchor_rect(place.get(), 0, 0, 1, frame_code::kBlockHeight);
    xdg_positioner_set_anchor(place.get(), XDG_POSITIONER_ANCHOR_BOTTOM_LEFT);
    xdg_positioner_set_gravity(place.get(), XDG_POSITIONER_GRAVITY_BOTTOM_RIGHT);
    popup_.reset(xdg_surface_get_popup(shell_surface_.get(), parent.shell_surface(), place.get()));
    xdg_popup_add_listener(popup_.get(), &kPopupListener, this);
}

}  // namespace stepscope::testgame
