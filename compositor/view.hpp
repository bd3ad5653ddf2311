// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <string>

#include "wlr.hpp"

namespace stepscope {

/** A window of the game, as the window manager sees it, whichever protocol it came by. */
class View {
public:
    View() = default;
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    virtual ~View() = default;

    virtual wlr_surface* surface() const = 0;
    /** The window that this one is a dialog of; may be null. */
    virtual View* parent() const = 0;
    virtual std::string title() const = 0;
    virtual std::string app_id() const = 0;
    virtual pid_t pid() const = 0;
    /** "wayland" or "x11". */
    virtual const char* backend() const = 0;
    /** Size of the picture that the client shows now, without shadows. */
    virtual wlr_box geometry() const = 0;
    /** Fill the output: the client is told size and state; it may still show another size. */
    virtual void fill(const wlr_box& output) = 0;
    /** The client keeps the size it wants; it is shown at this place. */
    virtual void place(int x, int y) = 0;
    /** Whether it insists on its size, or is no window to be stretched. */
    virtual bool keeps_its_size() const = 0;
    virtual bool takes_focus() const = 0;
    virtual void set_activated(bool activated) = 0;
    virtual void close() = 0;
    /** Node of the window with all that belongs to it; null while not mapped. */
    virtual wlr_scene_node* node() const = 0;
};

}  // namespace stepscope
