// SPDX-License-Identifier: LGPL-2.1-or-later
#include "commit_gate.hpp"

namespace stepscope {
namespace {

/** Whether the commit that the client just asked for changes what is seen. */
bool is_new_picture(wlr_surface_state& state) {
    return (state.committed & WLR_SURFACE_STATE_BUFFER) != 0 && state.buffer != nullptr &&
           (pixman_region32_not_empty(&state.surface_damage) ||
            pixman_region32_not_empty(&state.buffer_damage));
}

}  // namespace

void CommitGate::guard(wlr_surface* surface) {
    if (surface_ == surface) {
        return;
    }
    open();
    surface_ = surface;
    if (surface_ == nullptr) {
        return;
    }
    client_commit_.connect(surface_->events.client_commit,
                           [this](void*) { handle_commit_request(); });
    client_destroy_.connect_to_end(wl_resource_get_client(surface_->resource),
                                   [this](void*) { open(); });
    destroy_.connect(surface_->events.destroy, [this](void*) {
        waiting_.clear();
        guard(nullptr);
    });
}

// Called before the commit is applied. Each one that has to wait needs a lock of its own: those
// without one would be applied together with the first that is let in.
void CommitGate::handle_commit_request() {
    const bool picture = is_new_picture(surface_->pending);
    if (showing_ || !waiting_.empty()) {
        waiting_.push_back({wlr_surface_lock_pending(surface_), picture});
    } else {
        showing_ = picture;
    }
}

void CommitGate::handle_shown() {
    showing_ = false;
    while (!showing_ && !waiting_.empty()) {
        const Waiting next = waiting_.front();
        waiting_.pop_front();
        showing_ = next.picture;
        wlr_surface_unlock_cached(surface_, next.sequence);
    }
}

void CommitGate::open() {
    client_commit_.disconnect();
    destroy_.disconnect();
    client_destroy_.disconnect();
    while (showing_ || !waiting_.empty()) {
        handle_shown();
    }
    surface_ = nullptr;
}

}  // namespace stepscope
