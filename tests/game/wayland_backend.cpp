// SPDX-License-Identifier: LGPL-2.1-or-later
#include "wayland_backend.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "wayland_clipboard.hpp"
#include "wayland_seat.hpp"
#include "wayland_window.hpp"
#include "wl_ptr.hpp"

namespace stepscope::testgame {

namespace {

/** Binds the first global of each kind that the game uses, at a version it knows. */
void bind_global(WaylandGlobals& globals, wl_registry* registry, uint32_t name,
                 const char* interface, uint32_t version) {
    auto bind = [&]<typename T>(WlPtr<T>& slot, const wl_interface& known, uint32_t newest) {
        if (!slot && std::strcmp(interface, known.name) == 0) {
            slot.reset(static_cast<T*>(
                wl_registry_bind(registry, name, &known, std::min(version, newest))));
        }
    };
    bind(globals.compositor, wl_compositor_interface, 4);
    bind(globals.shm, wl_shm_interface, 1);
    bind(globals.wm_base, xdg_wm_base_interface, 5);
    bind(globals.seat, wl_seat_interface, 8);
    bind(globals.data_device_manager, wl_data_device_manager_interface, 3);
    bind(globals.presentation, wp_presentation_interface, 1);
    bind(globals.relative_pointer, zwp_relative_pointer_manager_v1_interface, 1);
    bind(globals.pointer_constraints, zwp_pointer_constraints_v1_interface, 1);
}

Error display_error(wl_display* display) {
    const int code = wl_display_get_error(display);
    if (code == EPROTO) {
        const wl_interface* interface = nullptr;
        uint32_t id = 0;
        const uint32_t error = wl_display_get_protocol_error(display, &interface, &id);
        return {Fault::protocol,
                "the compositor reported protocol error " + std::to_string(error) + " on " +
                    (interface != nullptr ? interface->name : "an unknown object"),
                code};
    }
    return {Fault::gone, std::string("the compositor went away: ") + std::strerror(code), code};
}

class WaylandGame {
public:
    explicit WaylandGame(Game& game) : game_(game) {}

    Result<void> run();

private:
    Result<void> connect();
    Result<void> turn();
    Result<void> open_seconds();
    Result<void> wait_for_events();

    Game& game_;
    WlPtr<wl_display> display_;
    WlPtr<wl_registry> registry_;
    WaylandGlobals globals_;
    std::unique_ptr<WaylandWindow> window_;
    std::unique_ptr<WaylandClipboard> clipboard_;
    std::unique_ptr<WaylandSeat> seat_;
    std::unique_ptr<WaylandSecond> dialog_;
    std::unique_ptr<WaylandSecond> popup_;
};

Result<void> WaylandGame::connect() {
    display_.reset(wl_display_connect(nullptr));
    if (!display_) {
        return fail_errno("can't connect to a Wayland compositor; is WAYLAND_DISPLAY set?");
    }
    registry_.reset(wl_display_get_registry(display_.get()));
    static const wl_registry_listener registry_listener = {
        .global =
            [](void* data, wl_registry* registry, uint32_t name, const char* interface,
               uint32_t version) {
                bind_global(*static_cast<WaylandGlobals*>(data), registry, name, interface,
                            version);
            },
        .global_remove = [](void*, wl_registry*, uint32_t) {},
    };
    wl_registry_add_listener(registry_.get(), &registry_listener, &globals_);
    if (wl_display_roundtrip(display_.get()) < 0) {
        return std::unexpected(display_error(display_.get()));
    }
    if (!globals_.compositor || !globals_.shm || !globals_.wm_base) {
        return fail(Fault::unsupported,
                    "the compositor lacks wl_compositor, wl_shm or xdg_wm_base");
    }
    static const xdg_wm_base_listener wm_base_listener = {
        .ping = [](void*, xdg_wm_base* wm_base,
                   uint32_t serial) { xdg_wm_base_pong(wm_base, serial); },
    };
    xdg_wm_base_add_listener(globals_.wm_base.get(), &wm_base_listener, nullptr);
    window_ = std::make_unique<WaylandWindow>(globals_, game_);
    auto graphics = Graphics::create(game_.options(),
                                     {.wayland = display_.get(), .surface = window_->surface()});
    if (!graphics) {
        return std::unexpected(graphics.error());
    }
    window_->set_graphics(std::move(*graphics));
    clipboard_ = std::make_unique<WaylandClipboard>(globals_, game_);
    if (globals_.seat) {
        seat_ = std::make_unique<WaylandSeat>(globals_, game_, *window_, *clipboard_);
    }
    return {};
}

Result<void> WaylandGame::open_seconds() {
    auto open = [&](std::unique_ptr<WaylandSecond>& slot, WaylandSecond::Kind kind) {
        return WaylandSecond::open(globals_, game_, *window_, kind)
            .transform([&](std::unique_ptr<WaylandSecond>&& opened) {
                slot = std::move(opened);
                game_.second_opened();
            });
    };
    if (game_.take_dialog_due()) {
        if (auto opened = open(dialog_, WaylandSecond::Kind::dialog); !opened) {
            return opened;
        }
    }
    if (game_.take_popup_due()) {
        if (auto opened = open(popup_, WaylandSecond::Kind::popup); !opened) {
            return opened;
        }
    }
    const bool close = game_.take_close_second_due();
    if (dialog_ && (close || dialog_->dismissed())) {
        dialog_.reset();
        game_.report().write("dialog_closed");
    }
    if (popup_ && (close || popup_->dismissed())) {
        popup_.reset();
        game_.report().write("popup_closed");
    }
    return {};
}

Result<void> WaylandGame::wait_for_events() {
    wl_display* display = display_.get();
    while (wl_display_prepare_read(display) != 0) {
        if (wl_display_dispatch_pending(display) < 0) {
            return std::unexpected(display_error(display));
        }
    }
    // A full socket: wait until the compositor has read some of it.
    const bool blocked = wl_display_flush(display) < 0 && errno == EAGAIN;
    std::array<pollfd, 2> descriptors = {{
        {.fd = wl_display_get_fd(display),
         .events = static_cast<short>(POLLIN | (blocked ? POLLOUT : 0)),
         .revents = 0},
        {.fd = clipboard_->fd(), .events = POLLIN, .revents = 0},
    }};
    if (!game_.wait(descriptors, window_->configured() && !blocked)) {
        wl_display_cancel_read(display);
        return fail_errno("can't wait for events");
    }
    if (descriptors[0].revents == 0) {
        wl_display_cancel_read(display);
    } else if (wl_display_read_events(display) < 0) {
        return std::unexpected(display_error(display));
    }
    if (descriptors[1].revents != 0) {
        clipboard_->read_some();
    }
    if (wl_display_dispatch_pending(display) < 0) {
        return std::unexpected(display_error(display));
    }
    return {};
}

Result<void> WaylandGame::turn() {
    if (window_->configured()) {
        if (auto opened = open_seconds(); !opened) {
            return opened;
        }
        if (game_.frame_due()) {
            if (auto drawn = window_->draw(); !drawn) {
                return drawn;
            }
        }
    }
    return wait_for_events();
}

Result<void> WaylandGame::run() {
    if (auto connected = connect(); !connected) {
        return connected;
    }
    for (game_.tick(); !game_.finished(); game_.tick()) {
        if (auto turned = turn(); !turned) {
            return turned;
        }
    }
    // The last frame and the window's end should arrive before the connection closes.
    dialog_.reset();
    popup_.reset();
    wl_display_roundtrip(display_.get());
    return {};
}

}  // namespace

Result<void> run_on_wayland(Game& game) {
    return WaylandGame(game).run();
}

}  // namespace stepscope::testgame
