// SPDX-License-Identifier: LGPL-2.1-or-later
#include "xwayland.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/unix_socket.hpp"

namespace stepscope {

class XwaylandServer::Window final : public View {
public:
    Window(XwaylandServer& server, wlr_xwayland_surface* window)
        : server_(server), window_(window), own_width_(window->width), own_height_(window->height) {
        window_->data = this;
        server_.windows_.handle_created();
        associate_.connect(window_->events.associate, [this](void*) { handle_associate(); });
        dissociate_.connect(window_->events.dissociate, [this](void*) {
            map_.disconnect();
            unmap_.disconnect();
            commit_.disconnect();
        });
        configure_.connect(window_->events.request_configure, [this](void* data) {
            handle_configure(*static_cast<wlr_xwayland_surface_configure_event*>(data));
        });
        fullscreen_.connect(window_->events.request_fullscreen, [this](void*) {
            wlr_xwayland_surface_set_fullscreen(window_, window_->fullscreen);
            if (managed() && window_->fullscreen) {
                fill(server_.windows_.output_box());
            }
        });
        // A game is never out of sight: what asks to be minimised is shown on.
        minimize_.connect(window_->events.request_minimize,
                          [this](void*) { wlr_xwayland_surface_set_minimized(window_, false); });
        maximize_.connect(window_->events.request_maximize, [this](void*) {
            wlr_xwayland_surface_set_maximized(window_, window_->maximized_horz,
                                               window_->maximized_vert);
        });
        activate_.connect(window_->events.request_activate,
                          [this](void*) { server_.windows_.raise(this); });
        map_request_.connect(window_->events.map_request, [this](void*) {
            if (managed() && parent() == nullptr && !keeps_its_size()) {
                fill(server_.windows_.output_box());
            }
        });
        set_geometry_.connect(window_->events.set_geometry, [this](void*) {
            if (tree_ != nullptr && window_->override_redirect) {
                wlr_scene_node_set_position(&tree_->node, window_->x, window_->y);
            }
        });
        set_title_.connect(window_->events.set_title,
                           [this](void*) { server_.windows_.handle_title(this); });
        override_redirect_.connect(window_->events.set_override_redirect, [this](void*) {
            if (tree_ != nullptr) {
                hide();
                show();
            }
        });
        destroy_.connect(window_->events.destroy, [this](void*) {
            server_.all_.remove_if([this](const auto& other) { return other.get() == this; });
        });
    }

    ~Window() override {
        hide();
        window_->data = nullptr;  // its children may go later, and ask who their parent is
        server_.windows_.handle_destroyed();
    }

    wlr_surface* surface() const override { return window_->surface; }
    View* parent() const override {
        if (window_->parent == nullptr || window_->parent->data == nullptr) {
            return nullptr;
        }
        auto* parent = static_cast<Window*>(window_->parent->data);
        return parent->in_manager_ ? parent : nullptr;
    }
    std::string title() const override { return window_->title != nullptr ? window_->title : ""; }
    std::string app_id() const override {
        return window_->class_ != nullptr ? window_->class_ : "";
    }
    pid_t pid() const override { return window_->pid; }
    const char* backend() const override { return "x11"; }
    wlr_box geometry() const override {
        const wlr_surface* surface = window_->surface;
        if (surface != nullptr && surface->current.width > 0) {
            return {0, 0, surface->current.width, surface->current.height};
        }
        return {0, 0, window_->width, window_->height};
    }
    void fill(const wlr_box& output) override {
        filled_ = true;
        configure(output.x, output.y, output.width, output.height);
    }
    void place(int x, int y) override {
        if (tree_ != nullptr) {
            wlr_scene_node_set_position(&tree_->node, x, y);
        }
        // X11 must agree about the place: it puts menus and reads the pointer relative to it.
        configure(x, y, window_->width, window_->height);
    }
    bool keeps_its_size() const override {
        if (window_->fullscreen) {
            return false;
        }
        const xcb_size_hints_t* hints = window_->size_hints;
        constexpr uint32_t kBoth = XCB_ICCCM_SIZE_HINT_P_MIN_SIZE | XCB_ICCCM_SIZE_HINT_P_MAX_SIZE;
        const bool fixed = hints != nullptr && (hints->flags & kBoth) == kBoth &&
                           hints->min_width > 0 && hints->min_width == hints->max_width &&
                           hints->min_height > 0 && hints->min_height == hints->max_height;
        return fixed || has_small_type();
    }
    bool takes_focus() const override {
        return managed() &&
               wlr_xwayland_surface_icccm_input_model(window_) != WLR_ICCCM_INPUT_MODEL_NONE;
    }
    void set_activated(bool activated) override {
        wlr_xwayland_surface_activate(window_, activated);
        if (activated) {
            wlr_xwayland_surface_restack(window_, nullptr, XCB_STACK_MODE_ABOVE);
        }
    }
    void close() override { wlr_xwayland_surface_close(window_); }
    wlr_scene_node* node() const override { return tree_ != nullptr ? &tree_->node : nullptr; }

private:
    bool managed() const { return !window_->override_redirect; }

    bool has_small_type() const {
        static constexpr wlr_xwayland_net_wm_window_type kSmall[] = {
            WLR_XWAYLAND_NET_WM_WINDOW_TYPE_DIALOG,       WLR_XWAYLAND_NET_WM_WINDOW_TYPE_SPLASH,
            WLR_XWAYLAND_NET_WM_WINDOW_TYPE_UTILITY,      WLR_XWAYLAND_NET_WM_WINDOW_TYPE_TOOLBAR,
            WLR_XWAYLAND_NET_WM_WINDOW_TYPE_MENU,         WLR_XWAYLAND_NET_WM_WINDOW_TYPE_TOOLTIP,
            WLR_XWAYLAND_NET_WM_WINDOW_TYPE_NOTIFICATION,
        };
        return std::ranges::any_of(
            kSmall, [&](auto type) { return wlr_xwayland_surface_has_window_type(window_, type); });
    }

    /** Tells X11, but only what it does not know yet: every message may cost a repaint. */
    void configure(int x, int y, int width, int height) {
        if (window_->x != x || window_->y != y || window_->width != width ||
            window_->height != height) {
            wlr_xwayland_surface_configure(window_, static_cast<int16_t>(x),
                                           static_cast<int16_t>(y), static_cast<uint16_t>(width),
                                           static_cast<uint16_t>(height));
        }
    }

    // A window manager hears of what a window is like, its size hints, its parent, by changes of
    // properties, and of those only that come after its own request to be told. A client may have
    // made all of it by then, and its window mapped. By now wlroots has read what there is.
    void give_back_its_size() {
        if (managed() && std::exchange(filled_, false) &&
            (parent() != nullptr || keeps_its_size())) {
            configure(window_->x, window_->y, own_width_, own_height_);
        }
    }

    void handle_associate() {
        give_back_its_size();
        map_.connect(window_->surface->events.map, [this](void*) { show(); });
        unmap_.connect(window_->surface->events.unmap, [this](void*) { hide(); });
        commit_.connect(window_->surface->events.commit, [this](void*) {
            const wlr_box now = geometry();
            if (in_manager_ && (now.width != shown_.width || now.height != shown_.height)) {
                shown_ = now;
                server_.windows_.handle_resize(this);
            }
        });
        // wlroots maps a window at a commit, and by X11 comes later than by Wayland whose surface
        // is whose: the first picture may be there by now, and no other one comes before it is
        // shown.
        if (wlr_surface_has_buffer(window_->surface)) {
            wlr_surface_map(window_->surface);
        }
    }

    void handle_configure(const wlr_xwayland_surface_configure_event& event) {
        own_width_ = (event.mask & XCB_CONFIG_WINDOW_WIDTH) != 0 ? event.width : own_width_;
        own_height_ = (event.mask & XCB_CONFIG_WINDOW_HEIGHT) != 0 ? event.height : own_height_;
        const wlr_box& output = server_.windows_.output_box();
        if (managed() && parent() == nullptr && !keeps_its_size()) {
            // It gets the output; a client that asked for less is told what it has.
            filled_ = true;
            wlr_xwayland_surface_configure(
                window_, static_cast<int16_t>(output.x), static_cast<int16_t>(output.y),
                static_cast<uint16_t>(output.width), static_cast<uint16_t>(output.height));
            return;
        }
        wlr_xwayland_surface_configure(window_, event.x, event.y, event.width, event.height);
    }

    void show() {
        WindowManager& windows = server_.windows_;
        tree_ = wlr_scene_subsurface_tree_create(
            managed() ? windows.windows_layer() : windows.menus_layer(), window_->surface);
        if (managed()) {
            in_manager_ = true;
            shown_ = geometry();
            windows.handle_map(this);
        } else {
            wlr_scene_node_set_position(&tree_->node, window_->x, window_->y);
            if (wlr_xwayland_surface_override_redirect_wants_focus(window_)) {
                wlr_xwayland_surface_activate(window_, true);
                focus_keyboard(window_->surface);
            }
        }
    }

    void hide() {
        if (tree_ == nullptr) {
            return;
        }
        if (in_manager_) {
            server_.windows_.handle_before_unmap(this);
        }
        wlr_scene_node_destroy(&tree_->node);
        tree_ = nullptr;
        shown_ = {};
        if (std::exchange(in_manager_, false)) {
            server_.windows_.handle_unmap(this);
        } else if (View* focused = server_.windows_.focused()) {
            focus_keyboard(focused->surface());
        }
    }

    void focus_keyboard(wlr_surface* surface) {
        const wlr_keyboard* keyboard = wlr_seat_get_keyboard(server_.seat_);
        if (keyboard != nullptr) {
            wlr_seat_keyboard_notify_enter(server_.seat_, surface, keyboard->keycodes,
                                           keyboard->num_keycodes, &keyboard->modifiers);
        }
    }

    XwaylandServer& server_;
    wlr_xwayland_surface* window_;
    wlr_scene_tree* tree_ = nullptr;
    wlr_box shown_{};
    int own_width_;  // that the client gave it
    int own_height_;
    bool filled_ = false;  // it was given the output instead
    bool in_manager_ = false;
    Listener associate_, dissociate_, map_, unmap_, commit_, destroy_;
    Listener configure_, fullscreen_, minimize_, maximize_, activate_, map_request_;
    Listener set_geometry_, set_title_, override_redirect_;
};

Result<std::unique_ptr<XwaylandServer>> XwaylandServer::create(
    wl_display* display, wlr_compositor* compositor, wlr_seat* seat, WindowManager& windows,
    std::function<void()> before_connect) {
    wlr_xwayland* xwayland = wlr_xwayland_create(display, compositor, true);
    if (xwayland == nullptr) {
        return fail(Fault::unsupported,
                    "Xwayland can't start: is it installed, and /tmp/.X11-unix writable? "
                    "--no-xwayland does without");
    }
    return std::unique_ptr<XwaylandServer>(
        new XwaylandServer(xwayland, seat, windows, std::move(before_connect)));
}

XwaylandServer::XwaylandServer(wlr_xwayland* xwayland, wlr_seat* seat, WindowManager& windows,
                               std::function<void()> before_connect)
    : windows_(windows), seat_(seat), xwayland_(xwayland), xwm_events_(xwayland) {
    server_ready_.connect_first(xwayland_->server->events.ready,
                                [notify = std::move(before_connect)](void*) { notify(); });
    connected_.connect(xwayland_->server->events.ready, [this](void*) {
        // Those before it: a server ends some time after its last client. Who waits for another
        // child of ours takes "no such child" for its end.
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        xwm_events_.reset();
        settle(wlr_xwayland_get_xwm_connection(xwayland_.get()) != nullptr);
    });
    new_surface_.connect(xwayland_->events.new_surface, [this](void* data) {
        all_.push_back(std::make_unique<Window>(*this, static_cast<wlr_xwayland_surface*>(data)));
    });
    ready_.connect(xwayland_->events.ready,
                   [this](void*) { wlr_xwayland_set_seat(xwayland_.get(), seat_); });
}

void XwaylandServer::start(std::function<void(bool up)> settled) {
    // What asks for nothing but to be let in: least significant byte first, protocol 11.0, no
    // authorisation. The server starts when a client knocks, and would end with the last one.
    constexpr std::array<char, 12> kHello{'l', 0, 11, 0};
    settled_ = std::move(settled);
    auto socket = connect_unix("/tmp/.X11-unix/X" + display_name().substr(1));
    if (!socket || ::write(socket->get(), kHello.data(), kHello.size()) < 0) {
        settle(false);
        return;
    }
    holder_ = std::move(*socket);
    ::fcntl(holder_.get(), F_SETFL, O_NONBLOCK);
    holder_source_.reset(wl_event_loop_add_fd(wl_display_get_event_loop(xwayland_->wl_display),
                                              holder_.get(), WL_EVENT_READABLE, handle_holder,
                                              this));
}

int XwaylandServer::handle_holder(int fd, uint32_t /*mask*/, void* data) {
    auto* self = static_cast<XwaylandServer*>(data);
    std::array<char, 4096> unused;
    const ssize_t size = ::read(fd, unused.data(), unused.size());
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
        // The server is gone, or did not come.
        self->holder_source_.reset();
        self->holder_.reset();
        self->settle(false);
    }
    return 0;
}

void XwaylandServer::settle(bool up) {
    if (auto settled = std::exchange(settled_, {})) {
        settled(up);
    }
}

bool XwaylandServer::busy() {
    const wlr_xwayland_server* server = xwayland_->server;
    if (server->ready) {
        xcb_connection_t* connection = wlr_xwayland_get_xwm_connection(xwayland_.get());
        if (connection == nullptr) {
            return false;
        }
        xcb_flush(connection);
        pollfd polled{xcb_get_file_descriptor(connection), POLLIN, 0};
        return ::poll(&polled, 1, 0) > 0 || xwm_events_.unread();
    }
    if (server->client != nullptr) {
        return true;
    }
    return std::ranges::any_of(server->x_fd, [](int fd) {
        pollfd polled{fd, POLLIN, 0};
        return ::poll(&polled, 1, 0) > 0;
    });
}

XwaylandServer::~XwaylandServer() {
    new_surface_.disconnect();
    ready_.disconnect();
    server_ready_.disconnect();
    connected_.disconnect();
}

}  // namespace stepscope
