// SPDX-License-Identifier: LGPL-2.1-or-later
#include "buffer_fences.hpp"

#include "log.hpp"

namespace stepscope {

FenceWait::FenceWait(wl_event_loop* loop, SyncFile fence, std::function<void()> done)
    : fence_(std::move(fence)),
      done_(std::move(done)),
      source_(wl_event_loop_add_fd(loop, fence_.fd(), WL_EVENT_READABLE, handle_ready, this)) {}

int FenceWait::handle_ready(int /*fd*/, uint32_t /*mask*/, void* data) {
    auto* self = static_cast<FenceWait*>(data);
    self->source_.reset();
    // A copy: it may end with what it is called through.
    const auto done = self->done_;
    done();
    return 0;
}

void merge_into(std::optional<SyncFile>& target, SyncFile fence) {
    if (!target) {
        target.emplace(std::move(fence));
        return;
    }
    auto merged = SyncFile::merge(*target, fence);
    if (merged) {
        target.emplace(std::move(*merged));
        return;
    }
    log("{}; waiting for one of them", merged.error().message);
    static_cast<void>(target->wait(std::nullopt));
    target.emplace(std::move(fence));
}

std::optional<SyncFile> implicit_fence(wlr_buffer* buffer, BufferAccess access) {
    wlr_dmabuf_attributes attributes{};
    if (!wlr_buffer_get_dmabuf(buffer, &attributes)) {
        return std::nullopt;
    }
    std::optional<SyncFile> pending;
    ino_t previous = 0;
    for (int plane = 0; plane < attributes.n_planes; ++plane) {
        auto memory = DmaBuf::adopt(UniqueFd::duplicate(attributes.fd[plane]));
        if (!memory || memory->inode() == previous) {
            continue;
        }
        previous = memory->inode();
        auto fence = memory->export_sync_file(access);
        if (!fence) {
            continue;  // an old kernel: its drivers wait by themselves
        }
        if (auto over = fence->wait(std::chrono::nanoseconds(0)); over && !*over) {
            merge_into(pending, std::move(*fence));
        }
    }
    return pending;
}

bool put_into_memory(const FrameMemory& memory, const SyncFile& fence) {
    bool all = true;
    for (unsigned plane = 0; plane < memory.planes; ++plane) {
        auto buffer = DmaBuf::adopt(UniqueFd::duplicate(memory.plane[plane].fd));
        all = buffer && buffer->import_sync_file(fence, BufferAccess::write) && all;
    }
    return all;
}

std::optional<SyncFile> point_fence(wlr_drm_syncobj_timeline* timeline, uint64_t point) {
    auto fence =
        SyncFile::adopt(UniqueFd(wlr_drm_syncobj_timeline_export_sync_file(timeline, point)));
    if (!fence) {
        return std::nullopt;
    }
    auto over = fence->wait(std::chrono::nanoseconds(0));
    if (over && *over) {
        return std::nullopt;
    }
    return std::move(*fence);
}

std::optional<SyncFile> acquire_fence(wlr_surface* surface, wlr_buffer* buffer) {
    const wlr_linux_drm_syncobj_surface_v1_state* state =
        wlr_linux_drm_syncobj_v1_get_surface_state(surface);
    if (state == nullptr || state->acquire_timeline == nullptr) {
        return implicit_fence(buffer, BufferAccess::read);
    }
    // The commit was kept back until the point had a fence.
    return point_fence(state->acquire_timeline, state->acquire_point);
}

}  // namespace stepscope
