// SPDX-License-Identifier: LGPL-2.1-or-later
#include "xdg_shell.hpp"

namespace stepscope {

class XdgShell::Toplevel final : public View {
public:
    Toplevel(XdgShell& shell, wlr_xdg_toplevel* toplevel)
        : shell_(shell),
          toplevel_(toplevel),
          tree_(wlr_scene_xdg_surface_create(shell.windows_.windows_layer(), toplevel->base)) {
        shell_.windows_.handle_created();
        wlr_scene_node_set_enabled(&tree_->node, false);
        // Popups find the tree that they belong into here.
        toplevel_->base->data = tree_;
        wlr_surface* surface = toplevel_->base->surface;
        commit_.connect(surface->events.commit, [this](void*) { handle_commit(); });
        map_.connect(surface->events.map, [this](void*) { shell_.windows_.handle_map(this); });
        // Before the scene hides it.
        unmap_.connect_first(surface->events.unmap, [this](void*) { handle_unmap(); });
        auto configure = [this](void*) {
            if (toplevel_->base->initialized) {
                wlr_xdg_surface_schedule_configure(toplevel_->base);
            }
        };
        // Each is answered with the state that it has anyhow: the window fills the output.
        request_maximize_.connect(toplevel_->events.request_maximize, configure);
        request_fullscreen_.connect(toplevel_->events.request_fullscreen, configure);
        request_minimize_.connect(toplevel_->events.request_minimize, configure);
        request_move_.connect(toplevel_->events.request_move, [](void*) {});
        set_parent_.connect(toplevel_->events.set_parent, [this](void*) {
            if (toplevel_->base->surface->mapped) {
                shell_.windows_.raise(this);
            }
        });
        set_title_.connect(toplevel_->events.set_title,
                           [this](void*) { shell_.windows_.handle_title(this); });
        destroy_.connect(toplevel_->events.destroy, [this](void*) {
            shell_.toplevels_.remove_if([this](const auto& other) { return other.get() == this; });
        });
    }

    ~Toplevel() override { shell_.windows_.handle_destroyed(); }

    wlr_surface* surface() const override { return toplevel_->base->surface; }
    View* parent() const override {
        return toplevel_->parent != nullptr ? shell_.windows_.find(toplevel_->parent->base->surface)
                                            : nullptr;
    }
    std::string title() const override {
        return toplevel_->title != nullptr ? toplevel_->title : "";
    }
    std::string app_id() const override {
        return toplevel_->app_id != nullptr ? toplevel_->app_id : "";
    }
    pid_t pid() const override {
        pid_t pid = 0;
        wl_client_get_credentials(wl_resource_get_client(toplevel_->resource), &pid, nullptr,
                                  nullptr);
        return pid;
    }
    const char* backend() const override { return "wayland"; }
    wlr_box geometry() const override { return toplevel_->base->geometry; }
    void fill(const wlr_box& output) override {
        wlr_xdg_toplevel_set_fullscreen(toplevel_, true);
        wlr_xdg_toplevel_set_size(toplevel_, output.width, output.height);
    }
    void place(int x, int y) override { wlr_scene_node_set_position(&tree_->node, x, y); }
    bool keeps_its_size() const override {
        const wlr_xdg_toplevel_state& state = toplevel_->current;
        return state.min_width > 0 && state.min_width == state.max_width && state.min_height > 0 &&
               state.min_height == state.max_height && !toplevel_->requested.fullscreen;
    }
    bool takes_focus() const override { return true; }
    void set_activated(bool activated) override {
        if (toplevel_->base->initialized) {
            wlr_xdg_toplevel_set_activated(toplevel_, activated);
        }
    }
    void close() override { wlr_xdg_toplevel_send_close(toplevel_); }
    wlr_scene_node* node() const override { return &tree_->node; }

private:
    void handle_commit() {
        if (toplevel_->base->initial_commit) {
            wlr_xdg_toplevel_set_wm_capabilities(toplevel_,
                                                 WLR_XDG_TOPLEVEL_WM_CAPABILITIES_FULLSCREEN |
                                                     WLR_XDG_TOPLEVEL_WM_CAPABILITIES_MAXIMIZE);
            if (toplevel_->parent != nullptr || keeps_its_size()) {
                wlr_xdg_toplevel_set_size(toplevel_, 0, 0);
            } else {
                fill(shell_.windows_.output_box());
            }
            return;
        }
        const wlr_box now = geometry();
        if (toplevel_->base->surface->mapped &&
            (now.width != shown_.width || now.height != shown_.height)) {
            shown_ = now;
            shell_.windows_.handle_resize(this);
        }
    }

    void handle_unmap() {
        shell_.windows_.handle_before_unmap(this);
        wlr_scene_node_set_enabled(&tree_->node, false);
        shown_ = {};
        shell_.windows_.handle_unmap(this);
    }

    XdgShell& shell_;
    wlr_xdg_toplevel* toplevel_;
    wlr_scene_tree* tree_;  // ends with the xdg surface
    wlr_box shown_{};
    Listener commit_, map_, unmap_, destroy_;
    Listener request_maximize_, request_fullscreen_, request_minimize_, request_move_;
    Listener set_parent_, set_title_;
};

class XdgShell::Popup {
public:
    Popup(XdgShell& shell, wlr_xdg_popup* popup, wlr_scene_tree* parent)
        : shell_(shell), popup_(popup) {
        popup_->base->data = wlr_scene_xdg_surface_create(parent, popup_->base);
        commit_.connect(popup_->base->surface->events.commit, [this](void*) {
            if (popup_->base->initial_commit) {
                unconstrain();
            }
        });
        reposition_.connect(popup_->events.reposition, [this](void*) { unconstrain(); });
        destroy_.connect(popup_->events.destroy, [this](void*) {
            shell_.popups_.remove_if([this](const auto& other) { return other.get() == this; });
        });
    }

private:
    // Keeps the popup on the output. The box is relative to the toplevel that all this hangs on.
    void unconstrain() {
        wlr_box box = shell_.windows_.output_box();
        const wlr_xdg_popup* popup = popup_;
        wlr_xdg_surface* parent = wlr_xdg_surface_try_from_wlr_surface(popup->parent);
        while (parent != nullptr && parent->role == WLR_XDG_SURFACE_ROLE_POPUP) {
            parent = wlr_xdg_surface_try_from_wlr_surface(parent->popup->parent);
        }
        if (parent == nullptr || parent->data == nullptr) {
            return;
        }
        int lx = 0;
        int ly = 0;
        wlr_scene_node_coords(&static_cast<wlr_scene_tree*>(parent->data)->node, &lx, &ly);
        box.x -= lx;
        box.y -= ly;
        wlr_xdg_popup_unconstrain_from_box(popup_, &box);
    }

    XdgShell& shell_;
    wlr_xdg_popup* popup_;
    Listener commit_, reposition_, destroy_;
};

XdgShell::XdgShell(wl_display* display, WindowManager& windows)
    : windows_(windows), shell_(wlr_xdg_shell_create(display, 6)) {
    new_toplevel_.connect(shell_->events.new_toplevel, [this](void* data) {
        toplevels_.push_back(
            std::make_unique<Toplevel>(*this, static_cast<wlr_xdg_toplevel*>(data)));
    });
    new_popup_.connect(shell_->events.new_popup,
                       [this](void* data) { handle_new_popup(static_cast<wlr_xdg_popup*>(data)); });
    shell_destroyed_.connect(shell_->events.destroy, [this](void*) {
        new_toplevel_.disconnect();
        new_popup_.disconnect();
        shell_destroyed_.disconnect();
    });

    // A game machine draws no title bars, and its clients should not either.
    wlr_xdg_decoration_manager_v1* decorations = wlr_xdg_decoration_manager_v1_create(display);
    new_decoration_.connect(decorations->events.new_toplevel_decoration, [](void* data) {
        auto* decoration = static_cast<wlr_xdg_toplevel_decoration_v1*>(data);
        if (decoration->toplevel->base->initialized) {
            wlr_xdg_toplevel_decoration_v1_set_mode(
                decoration, WLR_XDG_TOPLEVEL_DECORATION_V1_MODE_SERVER_SIDE);
        } else {
            decoration->scheduled_mode = WLR_XDG_TOPLEVEL_DECORATION_V1_MODE_SERVER_SIDE;
        }
    });
    decorations_destroyed_.connect(decorations->events.destroy, [this](void*) {
        new_decoration_.disconnect();
        decorations_destroyed_.disconnect();
    });
    wlr_server_decoration_manager_set_default_mode(wlr_server_decoration_manager_create(display),
                                                   WLR_SERVER_DECORATION_MANAGER_MODE_SERVER);

    wlr_xdg_activation_v1* activation = wlr_xdg_activation_v1_create(display);
    activate_.connect(activation->events.request_activate, [this](void* data) {
        auto* event = static_cast<wlr_xdg_activation_v1_request_activate_event*>(data);
        if (View* view = windows_.find(wlr_surface_get_root_surface(event->surface))) {
            windows_.raise(view);
        }
    });
    activation_destroyed_.connect(activation->events.destroy, [this](void*) {
        activate_.disconnect();
        activation_destroyed_.disconnect();
    });
}

XdgShell::~XdgShell() = default;

void XdgShell::handle_new_popup(wlr_xdg_popup* popup) {
    wlr_xdg_surface* parent = wlr_xdg_surface_try_from_wlr_surface(popup->parent);
    if (parent == nullptr || parent->data == nullptr) {
        return;  // A popup of something that is no window of ours is never shown.
    }
    popups_.push_back(
        std::make_unique<Popup>(*this, popup, static_cast<wlr_scene_tree*>(parent->data)));
}

}  // namespace stepscope
