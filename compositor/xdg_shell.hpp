// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <list>
#include <memory>

#include "listener.hpp"
#include "window_manager.hpp"

namespace stepscope {

/** Windows of Wayland clients: toplevels become views, popups hang on what they belong to. */
class XdgShell {
public:
    XdgShell(wl_display* display, WindowManager& windows);
    ~XdgShell();

private:
    class Toplevel;
    class Popup;

    void handle_new_popup(wlr_xdg_popup* popup);

    WindowManager& windows_;
    wlr_xdg_shell* shell_;
    std::list<std::unique_ptr<Toplevel>> toplevels_;
    std::list<std::unique_ptr<Popup>> popups_;
    Listener new_toplevel_;
    Listener new_popup_;
    Listener new_decoration_;
    Listener activate_;
    Listener shell_destroyed_;
    Listener decorations_destroyed_;
    Listener activation_destroyed_;
};

}  // namespace stepscope
