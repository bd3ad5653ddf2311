// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

#include "error.hpp"
#include "sync_file.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/**
 * Owns a DRM timeline syncobj: points with rising numbers, each with a fence that somebody puts
 * there. A point is *available* once it has its fence (or a later point has), and *signalled* once
 * the fence is. Keeps the device open. May be used by several threads at once.
 */
class Timeline {
public:
    /** Whether the DRM device has timelines; false for anything else that the fd may be. */
    static bool supported(int drm_fd);

    /** A new one at point 0. The fd stays the caller's. Fault::unsupported without timelines. */
    static Result<Timeline> create(int drm_fd);
    /** One of somebody else, from its descriptor. Both stay the caller's. */
    static Result<Timeline> import(int drm_fd, int syncobj_fd);

    Timeline(Timeline&& other) noexcept;
    Timeline& operator=(Timeline&& other) noexcept;
    ~Timeline();

    /** The device's handle, for libraries that want one (wlroots). Borrowed. */
    uint32_t handle() const { return handle_; }
    /** A descriptor that another process, or device file, can import. */
    Result<UniqueFd> export_fd() const;

    /** The last point that is signalled. */
    Result<uint64_t> last_signaled() const;
    /** Signals a point from the CPU. Points must rise. */
    Result<void> signal(uint64_t point) const;

    /** What waiting for a point waits for. */
    enum class Until { available, signaled };
    /** True once it is so, false if the limit is over. A point may be waited for in advance. */
    Result<bool> wait(uint64_t point, Until until, WaitLimit limit) const;
    /** The eventfd is written to once it is so, at once if it already is. It stays the caller's. */
    Result<void> notify(uint64_t point, Until until, int eventfd) const;

    /** The point's fence. Fault::not_found while the point is not available. */
    Result<SyncFile> export_point(uint64_t point) const;
    /** Puts a fence at the point, which makes it available. The fence stays the caller's. */
    Result<void> import_point(uint64_t point, const SyncFile& fence) const;

private:
    Timeline(UniqueFd device, uint32_t handle) : device_(std::move(device)), handle_(handle) {}
    void destroy();

    UniqueFd device_;
    uint32_t handle_ = 0;
};

}  // namespace stepscope
