// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "listener.hpp"
#include "window_manager.hpp"
#include "xwm_events.hpp"

namespace stepscope {

/**
 * A rootless X server for X11 games, started when the first one connects, or before. Managed
 * windows become views; override-redirect ones (menus, tooltips) stand where they put themselves,
 * over the others.
 */
class XwaylandServer {
public:
    /**
     * `before_connect` is called each time that the server is up, before the window manager
     * connects to it, which blocks until the server answers.
     */
    static Result<std::unique_ptr<XwaylandServer>> create(wl_display* display,
                                                          wlr_compositor* compositor,
                                                          wlr_seat* seat, WindowManager& windows,
                                                          std::function<void()> before_connect);
    ~XwaylandServer();

    /**
     * Starts the server now and keeps it up, also while it has no client. `settled` is called once,
     * later: with true when the window manager is connected, with false where that failed.
     */
    void start(std::function<void(bool up)> settled);
    /**
     * A client knocked, the server was started and does not answer yet, or it sent something that
     * was not read. Sends what waits to be sent to it.
     */
    bool busy();
    /** To be called before each sleep: see XwmEvents. */
    void wake() { xwm_events_.wake(); }
    /** The server, as a client of ours; null if it does not run. */
    wl_client* client() const { return xwayland_->server->client; }
    /** For DISPLAY, such as ":0". */
    std::string display_name() const { return xwayland_->display_name; }

private:
    class Window;

    XwaylandServer(wlr_xwayland* xwayland, wlr_seat* seat, WindowManager& windows,
                   std::function<void()> before_connect);

    static int handle_holder(int fd, uint32_t mask, void* data);
    void settle(bool up);

    WindowManager& windows_;
    wlr_seat* seat_;
    Handle<wlr_xwayland, wlr_xwayland_destroy> xwayland_;
    XwmEvents xwm_events_;
    std::list<std::unique_ptr<Window>> all_;
    Listener new_surface_;
    Listener ready_;
    Listener server_ready_;
    Listener connected_;
    std::function<void(bool)> settled_;
    UniqueFd holder_;  // a client of our own, which keeps the server up
    EventSource holder_source_;
};

}  // namespace stepscope
