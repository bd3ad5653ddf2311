// SPDX-License-Identifier: LGPL-2.1-or-later
#include "x11_backend.hpp"

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "x11_input.hpp"
#include "x11_window.hpp"

namespace stepscope::testgame {

namespace {

class X11Game {
public:
    X11Game(const X11Display& display, Game& game)
        : display_(display),
          game_(game),
          window_(display, game),
          input_(display, game, window_),
          clipboard_(display, game, window_),
          delete_window_(display.atom("WM_DELETE_WINDOW")) {}

    Result<void> run();

private:
    void handle(const xcb_generic_event_t& event);
    void request_clipboard();
    void handle_client_message(const xcb_client_message_event_t& message);
    void open_seconds();
    void close(std::unique_ptr<X11Second>& second, const char* event);

    const X11Display& display_;
    Game& game_;
    X11Window window_;
    X11Input input_;
    X11Clipboard clipboard_;
    xcb_atom_t delete_window_;
    std::unique_ptr<X11Second> dialog_;
    std::unique_ptr<X11Second> popup_;
};

void X11Game::handle_client_message(const xcb_client_message_event_t& message) {
    if (message.data.data32[0] != delete_window_) {
        return;
    }
    if (dialog_ && message.window == dialog_->id()) {
        close(dialog_, "dialog_closed");
    } else {
        game_.report().write("close");
        game_.finish();
    }
}

void X11Game::request_clipboard() {
    if (game_.options().get_clipboard) {
        clipboard_.request();
    }
}

void X11Game::handle(const xcb_generic_event_t& event) {
    const int type = event.response_type & 0x7f;
    if (type == display_.shm_event + XCB_SHM_COMPLETION) {
        const auto& done = reinterpret_cast<const xcb_shm_completion_event_t&>(event);
        window_.handle_shm_completion(done.shmseg, done.offset);
        return;
    }
    switch (type) {
        case XCB_MAP_NOTIFY:
            if (reinterpret_cast<const xcb_map_notify_event_t&>(event).window == window_.id()) {
                window_.handle_mapped();
                request_clipboard();
            }
            return;
        case XCB_FOCUS_IN:
            // Under Wayland only a client with the focus may write and read.
            clipboard_.offer();
            request_clipboard();
            break;
        case XCB_CONFIGURE_NOTIFY: {
            const auto& configure = reinterpret_cast<const xcb_configure_notify_event_t&>(event);
            if (configure.window == window_.id()) {
                window_.handle_configure(configure.width, configure.height);
            }
            return;
        }
        case XCB_CLIENT_MESSAGE:
            handle_client_message(reinterpret_cast<const xcb_client_message_event_t&>(event));
            return;
        case XCB_GE_GENERIC: {
            const auto& generic = reinterpret_cast<const xcb_ge_generic_event_t&>(event);
            if (generic.extension == display_.present_opcode &&
                generic.event_type == XCB_PRESENT_COMPLETE_NOTIFY) {
                game_.vsync();
                return;
            }
            break;
        }
        default:
            break;
    }
    if (!input_.handle(event)) {
        clipboard_.handle(event);
    }
}

void X11Game::close(std::unique_ptr<X11Second>& second, const char* event) {
    if (second) {
        second.reset();
        game_.report().write(event);
    }
}

void X11Game::open_seconds() {
    if (game_.take_dialog_due()) {
        dialog_ = std::make_unique<X11Second>(display_, game_, window_, X11Second::Kind::dialog);
        game_.second_opened();
    }
    if (game_.take_popup_due()) {
        popup_ = std::make_unique<X11Second>(display_, game_, window_, X11Second::Kind::popup);
        game_.second_opened();
    }
    if (game_.take_close_second_due()) {
        close(dialog_, "dialog_closed");
        close(popup_, "popup_closed");
    }
}

Result<void> X11Game::run() {
    auto graphics = Graphics::create(
        game_.options(),
        {.x11 = display_.connection, .window = window_.id(), .visual = window_.visual()});
    if (!graphics) {
        return std::unexpected(graphics.error());
    }
    window_.set_graphics(std::move(*graphics));
    if (game_.options().vsync && display_.present_opcode == 0) {
        return fail(Fault::unsupported,
                    "--vsync needs the Present extension, which the X server lacks; use --rate");
    }
    for (game_.tick(); !game_.finished(); game_.tick()) {
        if (window_.mapped()) {
            open_seconds();
            if (game_.frame_due()) {
                if (auto drawn = window_.draw(); !drawn) {
                    return drawn;
                }
            }
        }
        xcb_flush(display_.connection);
        XcbPtr<xcb_generic_event_t> event(xcb_poll_for_event(display_.connection));
        if (!event) {
            std::array<pollfd, 1> descriptor = {
                {{.fd = xcb_get_file_descriptor(display_.connection),
                  .events = POLLIN,
                  .revents = 0}}};
            if (!game_.wait(descriptor, window_.mapped())) {
                return fail_errno("can't wait for events");
            }
            event.reset(xcb_poll_for_event(display_.connection));
        }
        for (; event; event.reset(xcb_poll_for_queued_event(display_.connection))) {
            handle(*event);
        }
        if (xcb_connection_has_error(display_.connection) != 0) {
            return std::unexpected(display_.error());
        }
    }
    return {};
}

}  // namespace

Result<void> run_on_x11(Game& game) {
    auto display = X11Display::connect();
    if (!display) {
        return std::unexpected(display.error());
    }
    return X11Game(**display, game).run();
}

}  // namespace stepscope::testgame
