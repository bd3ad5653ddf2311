// SPDX-License-Identifier: LGPL-2.1-or-later
#include "window_manager.hpp"

#include <algorithm>

#include "pacer.hpp"

namespace stepscope {
namespace {

constexpr int kIdleCallbackMs = 1000;

}  // namespace

WindowManager::WindowManager(wl_event_loop* loop, wlr_scene* scene, Hooks hooks)
    : hooks_(std::move(hooks)),
      windows_(wlr_scene_tree_create(&scene->tree)),
      menus_(wlr_scene_tree_create(&scene->tree)),
      idle_timer_(wl_event_loop_add_timer(loop, handle_idle_callbacks, this)) {
    wl_event_source_timer_update(idle_timer_.get(), kIdleCallbackMs);
}

int WindowManager::handle_idle_callbacks(void* data) {
    auto* self = static_cast<WindowManager*>(data);
    timespec now = to_timespec(monotonic_ns());
    for (View* view : self->mapped_) {
        if (view->node() != nullptr && !view->node()->enabled) {
            wlr_surface_for_each_surface(
                view->surface(),
                [](wlr_surface* surface, int, int, void* when) {
                    wlr_surface_send_frame_done(surface, static_cast<timespec*>(when));
                },
                &now);
        }
    }
    wl_event_source_timer_update(self->idle_timer_.get(), kIdleCallbackMs);
    return 0;
}

void WindowManager::set_output_box(const wlr_box& box) {
    output_ = box;
    for (View* view : mapped_) {
        position(view);
    }
    arrange();
}

View* WindowManager::root_of(View* view) {
    // Bounded: a client may make its windows each other's parents.
    for (int depth = 0; depth < 16 && view->parent() != nullptr; ++depth) {
        view = view->parent();
    }
    return view;
}

void WindowManager::position(View* view) {
    if (view->parent() == nullptr && !view->keeps_its_size()) {
        view->fill(output_);
    }
    handle_resize(view);
}

void WindowManager::handle_resize(View* view) {
    const wlr_box geometry = view->geometry();
    view->place(output_.x + (output_.width - geometry.width) / 2,
                output_.y + (output_.height - geometry.height) / 2);
    hooks_.contents_moved();
}

void WindowManager::handle_map(View* view) {
    mapped_.push_back(view);
    position(view);
    arrange();
}

void WindowManager::handle_before_unmap(View* view) {
    if (view->parent() == nullptr) {
        hooks_.before_unmap();
    }
}

void WindowManager::handle_unmap(View* view) {
    std::erase(mapped_, view);
    if (focused_ == view) {
        focused_ = nullptr;
        hooks_.focus(nullptr);
    }
    arrange();
}

void WindowManager::handle_title(View* view) {
    if (view == focused_) {
        hooks_.game_changed(view);
    }
}

void WindowManager::raise(View* view) {
    auto found = std::ranges::find(mapped_, view);
    if (found == mapped_.end()) {
        return;
    }
    std::rotate(found, found + 1, mapped_.end());
    arrange();
}

View* WindowManager::find(const wlr_surface* root_surface) const {
    auto found = std::ranges::find(mapped_, root_surface, &View::surface);
    return found != mapped_.end() ? *found : nullptr;
}

void WindowManager::arrange() {
    View* top = mapped_.empty() ? nullptr : mapped_.back();
    View* shown_root = top != nullptr ? root_of(top) : nullptr;
    for (View* view : mapped_) {
        if (view->node() == nullptr) {
            continue;
        }
        // In map order, so that what is newer is higher, and a dialog above its window.
        wlr_scene_node_raise_to_top(view->node());
        wlr_scene_node_set_enabled(view->node(), root_of(view) == shown_root);
    }
    update_focus();
    hooks_.contents_moved();
}

void WindowManager::update_focus() {
    View* wanted = nullptr;
    for (View* view : mapped_) {
        if (view->takes_focus() && view->node() != nullptr && view->node()->enabled) {
            wanted = view;
        }
    }
    if (wanted == focused_) {
        return;
    }
    if (focused_ != nullptr) {
        focused_->set_activated(false);
    }
    focused_ = wanted;
    if (focused_ != nullptr) {
        focused_->set_activated(true);
    }
    hooks_.focus(focused_ != nullptr ? focused_->surface() : nullptr);
    hooks_.game_changed(focused_);
}

void WindowManager::close_all() {
    // A copy: closing may unmap at once.
    const std::vector<View*> views = mapped_;
    for (View* view : views) {
        view->close();
    }
}

}  // namespace stepscope
