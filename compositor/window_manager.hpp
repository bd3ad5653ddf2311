// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <vector>

#include "view.hpp"

namespace stepscope {

/**
 * Decides which window has the output and the focus, as a machine for one game needs it: the newest
 * window wins, its dialogs stand over it, others wait underneath and come back when it closes.
 * Windows that wait are not drawn but get a frame callback each second, so that they do not hang.
 */
class WindowManager {
public:
    struct Hooks {
        /** Keyboard focus; null for none. */
        std::function<void(wlr_surface*)> focus;
        /** What is under the pointer may have changed. */
        std::function<void()> contents_moved;
        /** The window that has the output changed, or its title did; null for none. */
        std::function<void(View*)> game_changed;
        /** A window, not a dialog, is about to be unmapped; its picture is still there. */
        std::function<void()> before_unmap;
        /** Windows of all kinds that exist, also those that are not shown. */
        std::function<void(unsigned)> count_changed;
    };

    WindowManager(wl_event_loop* loop, wlr_scene* scene, Hooks hooks);

    /** Where windows put their nodes; menus of X11 stand over all windows. */
    wlr_scene_tree* windows_layer() const { return windows_; }
    wlr_scene_tree* menus_layer() const { return menus_; }

    void set_output_box(const wlr_box& box);
    const wlr_box& output_box() const { return output_; }

    /** A view appeared, went, or shows another size; views call these. */
    void handle_map(View* view);
    void handle_unmap(View* view);
    void handle_before_unmap(View* view);
    void handle_created() { hooks_.count_changed(++count_); }
    void handle_destroyed() { hooks_.count_changed(--count_); }
    void handle_resize(View* view);
    void handle_title(View* view);
    /** The window is asked for: by a click, by itself, by a launcher. */
    void raise(View* view);
    /** The view whose window contains this surface, if any. */
    View* find(const wlr_surface* root_surface) const;

    View* focused() const { return focused_; }
    bool has_windows() const { return !mapped_.empty(); }
    void close_all();

private:
    static int handle_idle_callbacks(void* data);
    void arrange();
    void position(View* view);
    void update_focus();
    static View* root_of(View* view);

    Hooks hooks_;
    wlr_scene_tree* windows_;
    wlr_scene_tree* menus_;
    wlr_box output_{};
    std::vector<View*> mapped_;  // newest last
    View* focused_ = nullptr;
    unsigned count_ = 0;
    EventSource idle_timer_;
};

}  // namespace stepscope
