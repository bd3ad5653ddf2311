// SPDX-License-Identifier: LGPL-2.1-or-later
#include "commit_gate.hpp"

namespace stepscope {

void CommitGate::guard(wlr_surface* surface) {
    if (surface_ == surface) {
        return;
    }
    open();
    surface_ = surface;
    if (surface_ == nullptr) {
        return;
    }
    commit_.connect(surface_->events.commit, [this](void*) {
        // Only a new picture gets shown, and only that lifts the lock again.
        if (!lock_ && (surface_->current.committed & WLR_SURFACE_STATE_BUFFER) != 0 &&
            surface_->buffer != nullptr && pixman_region32_not_empty(&surface_->buffer_damage)) {
            lock_ = wlr_surface_lock_pending(surface_);
        }
    });
    destroy_.connect(surface_->events.destroy, [this](void*) {
        lock_.reset();
        guard(nullptr);
    });
}

void CommitGate::handle_shown() {
    if (lock_) {
        const uint32_t lock = *lock_;
        // Before the call: it may apply the next commit, which locks again.
        lock_.reset();
        wlr_surface_unlock_cached(surface_, lock);
    }
}

void CommitGate::open() {
    commit_.disconnect();
    destroy_.disconnect();
    handle_shown();
    surface_ = nullptr;
}

}  // namespace stepscope
