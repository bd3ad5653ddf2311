// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "listener.hpp"
#include "window_manager.hpp"

namespace stepscope {

/**
 * A rootless X server for X11 games, started when the first one connects. Managed windows become
 * views; override-redirect ones (menus, tooltips) stand where they put themselves, over the others.
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
     * A client knocked, the server was started and does not answer yet, or it sent something that
     * was not read. Sends what waits to be sent to it.
     */
    bool busy();
    /** For DISPLAY, such as ":0". */
    std::string display_name() const { return xwayland_->display_name; }

private:
    class Window;

    XwaylandServer(wlr_xwayland* xwayland, wlr_seat* seat, WindowManager& windows,
                   std::function<void()> before_connect);

    WindowManager& windows_;
    wlr_seat* seat_;
    Handle<wlr_xwayland, wlr_xwayland_destroy> xwayland_;
    std::list<std::unique_ptr<Window>> all_;
    Listener new_surface_;
    Listener ready_;
    Listener server_ready_;
};

}  // namespace stepscope
