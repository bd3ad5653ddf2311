// SPDX-License-Identifier: LGPL-2.1-or-later
#include "release_points.hpp"

#include "buffer_fences.hpp"
#include "log.hpp"

namespace stepscope {

ReleasePoints::ReleasePoints(wl_display* display, wlr_compositor* compositor, int device)
    : loop_(wl_display_get_event_loop(display)), device_(device) {
    new_surface_.connect(compositor->events.new_surface,
                         [this](void* data) { handle_surface(static_cast<wlr_surface*>(data)); });
    compositor_destroyed_.connect(compositor->events.destroy, [this](void*) {
        new_surface_.disconnect();
        compositor_destroyed_.disconnect();
    });
}

void ReleasePoints::handle_surface(wlr_surface* surface) {
    auto& entry = surfaces_[surface];
    entry = std::make_unique<Surface>();
    entry->commit.connect(surface->events.commit,
                          [this, surface](void*) { handle_commit(surface); });
    entry->destroy.connect(surface->events.destroy,
                           [this, surface](void*) { surfaces_.erase(surface); });
}

// A commit is there, and with it wlroots' own wait for the release. One of ours is added to it, on
// a timeline of its own: buffers come back in any order, and points must rise.
void ReleasePoints::handle_commit(wlr_surface* surface) {
    wlr_linux_drm_syncobj_surface_v1_state* state =
        wlr_linux_drm_syncobj_v1_get_surface_state(surface);
    if (state == nullptr || (surface->current.committed & WLR_SURFACE_STATE_BUFFER) == 0 ||
        surface->buffer == nullptr || surface->buffer->source == nullptr) {
        return;
    }
    wlr_buffer* buffer = surface->buffer->source;
    if (buffer->n_locks == 0) {
        return;  // its content was taken out already
    }
    Timeline timeline(wlr_drm_syncobj_timeline_create(device_));
    if (!timeline ||
        !wlr_linux_drm_syncobj_v1_state_add_release_point(state, timeline.get(), 1, loop_)) {
        log("can't follow a release point; the game may draw into a picture that is still read");
        return;
    }
    auto& entry = buffers_[buffer];
    if (!entry) {
        entry = std::make_unique<Buffer>();
        entry->released.connect(buffer->events.release,
                                [this, buffer](void*) { handle_release(buffer); });
    }
    entry->points.push_back(std::move(timeline));
}

void ReleasePoints::add_fence(wlr_buffer* buffer, SyncFile fence) {
    merge_into(buffers_.at(buffer)->fence, std::move(fence));
}

// Called when the last lock of the buffer went. Never blocks: the fences go to the client.
void ReleasePoints::handle_release(wlr_buffer* buffer) {
    auto found = buffers_.find(buffer);
    const std::unique_ptr<Buffer> entry = std::move(found->second);
    buffers_.erase(found);
    std::optional<SyncFile> fence = std::move(entry->fence);
    // Consumers whose drivers know implicit fences alone leave them in the memory.
    if (auto readers = implicit_fence(buffer, BufferAccess::write)) {
        merge_into(fence, std::move(*readers));
    }
    for (const Timeline& timeline : entry->points) {
        if (!fence || !wlr_drm_syncobj_timeline_import_sync_file(timeline.get(), 1, fence->fd())) {
            wlr_drm_syncobj_timeline_signal(timeline.get(), 1);
        }
    }
}

}  // namespace stepscope
