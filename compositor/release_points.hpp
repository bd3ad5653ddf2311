// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/sync_file.hpp"
#include "listener.hpp"

namespace stepscope {

/**
 * Ties the release points of clients with explicit sync to the life of their buffers: a point is
 * signalled when nobody holds the buffer any more (the scene, consumers, whoever locks it) and the
 * fences that they left have signalled. Never earlier, and always.
 *
 * wlroots alone signals a point with the surface's next commit: it does not know who reads the
 * buffer besides its renderer.
 */
class ReleasePoints {
public:
    /** `device`, borrowed, is a DRM device with timelines: the one that clients were offered. */
    ReleasePoints(wl_display* display, wlr_compositor* compositor, int device);
    ReleasePoints(const ReleasePoints&) = delete;
    ReleasePoints& operator=(const ReleasePoints&) = delete;

    /** Whether a release point depends on the buffer; false for clients with implicit sync. */
    bool follows(wlr_buffer* buffer) const { return buffers_.contains(buffer); }

    /** The buffer's release points wait for this, too. For buffers that follows() knows. */
    void add_fence(wlr_buffer* buffer, SyncFile fence);

private:
    using Timeline = Handle<wlr_drm_syncobj_timeline, wlr_drm_syncobj_timeline_unref>;
    struct Surface {
        Listener commit;
        Listener destroy;
    };
    struct Buffer {
        /** One for each commit since the client got the buffer back; point 1 is the release. */
        std::vector<Timeline> points;
        std::optional<SyncFile> fence;
        Listener released;
    };

    void handle_surface(wlr_surface* surface);
    void handle_commit(wlr_surface* surface);
    void handle_release(wlr_buffer* buffer);

    wl_event_loop* loop_;
    int device_;
    Listener new_surface_;
    Listener compositor_destroyed_;
    std::map<wlr_surface*, std::unique_ptr<Surface>> surfaces_;
    std::map<wlr_buffer*, std::unique_ptr<Buffer>> buffers_;
};

}  // namespace stepscope
