// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <vector>

#include "base/dmabuf.hpp"
#include "base/timeline.hpp"
#include "picture.hpp"
#include "tests/game/frame_code.hpp"
#include "tests/game/nv12_frame.hpp"
#include "tests/support/drm_devices.hpp"

struct wl_buffer;
struct zwp_linux_dmabuf_v1;
struct wp_linux_drm_syncobj_manager_v1;
struct wp_linux_drm_syncobj_surface_v1;
struct wp_linux_drm_syncobj_timeline_v1;

namespace stepscope::testgame {

/** Devices that the fence game needs; made once. */
struct FenceDevices {
    testing::Vgem vgem;
    UniqueFd timelines;  // a device with timelines; empty without explicit sync

    static Result<FenceDevices> open(bool explicit_sync);
};

/**
 * A DMA-BUF that the game draws into after it has shown it, with a fence that keeps others from
 * looking until then.
 */
class FenceBuffer {
public:
    FenceBuffer(const FenceDevices& devices, Picture picture, PictureLayout layout, int width,
                int height);
    FenceBuffer(const FenceBuffer&) = delete;
    FenceBuffer& operator=(const FenceBuffer&) = delete;
    ~FenceBuffer();

    /** Makes the wl_buffer, and the timelines where there is a manager. */
    Result<void> create(zwp_linux_dmabuf_v1* dmabuf, wp_linux_drm_syncobj_manager_v1* manager,
                        uint32_t format);

    ino_t inode() const { return picture_.files.front().memory.inode(); }
    /** Of the file with the last plane; the same where there is one. */
    ino_t last_inode() const { return picture_.files.back().memory.inode(); }
    /** Of the first plane, in bytes. */
    size_t stride() const { return picture_.planes.front().stride; }
    wl_buffer* proxy() const { return buffer_; }
    uint32_t format() const { return format_; }
    PictureLayout layout() const { return layout_; }
    /** Of `packed` ones. */
    frame_code::Pixels pixels() const;
    /** Of the others: luma or all there is, 0, and chroma, 1, which may have no rows. */
    nv12_frame::Plane plane(unsigned index) const;

    /** Whether nobody but the game has it, and it is drawn. */
    bool free() const { return !busy_ && fences_.empty(); }
    /** Becomes readable with the release point; -1 without explicit sync. */
    int release_fd() const { return points_ ? points_->released.get() : -1; }
    /** The release point may have been signalled. True if it has. */
    bool check_release();
    /** The compositor sent wl_buffer.release; counts without explicit sync only. */
    void handle_wayland_release();

    /** Spoils the picture and makes a fence; the next commit may carry the buffer. */
    Result<void> begin(wp_linux_drm_syncobj_surface_v1* surface);
    /** The picture is drawn: signals the fence. */
    Result<void> finish();

private:
    /** Explicit sync: what the buffer's points are on. */
    struct Points {
        DmaBuf scratch;  // carries fences that are not to be implicit ones
        Timeline acquire;
        Timeline release;
        wp_linux_drm_syncobj_timeline_v1* acquire_proxy = nullptr;
        wp_linux_drm_syncobj_timeline_v1* release_proxy = nullptr;
        UniqueFd released;
        uint64_t last = 0;

        ~Points();
    };

    Result<void> create_points(wp_linux_drm_syncobj_manager_v1* manager);
    static Result<void> set_points(wp_linux_drm_syncobj_surface_v1* surface, Points& points);

    const FenceDevices& devices_;
    Picture picture_;
    PictureLayout layout_;
    int width_;
    int height_;
    wl_buffer* buffer_ = nullptr;
    uint32_t format_ = 0;
    bool busy_ = false;
    std::vector<testing::Vgem::Fence> fences_;  // until it is drawn
    std::unique_ptr<Points> points_;            // with explicit sync
};

}  // namespace stepscope::testgame
