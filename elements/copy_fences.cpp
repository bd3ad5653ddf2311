// SPDX-License-Identifier: LGPL-2.1-or-later
#include "copy_fences.hpp"

#include <algorithm>

namespace stepscope {
namespace {

bool is_pending(const SyncFile& fence) {
    auto status = fence.status();
    return status && *status == FenceStatus::pending;
}

}  // namespace

Result<CopyFences> CopyFences::create(std::span<const SlotPlane> planes, bool cpu_writes) {
    CopyFences fences;
    fences.cpu_writes_ = cpu_writes;
    for (const SlotPlane& plane : planes) {
        auto buffer = DmaBuf::adopt(UniqueFd::duplicate(plane.fd.get()));
        if (!buffer) {
            return std::unexpected(buffer.error());
        }
        if (!std::ranges::contains(fences.buffers_, buffer->inode(), &DmaBuf::inode)) {
            fences.buffers_.push_back(std::move(*buffer));
        }
    }
    return fences;
}

GstPtr<GstStepscopeFence> CopyFences::copied() {
    if (buffers_.empty()) {
        return nullptr;
    }
    std::optional<SyncFile> all;
    for (const DmaBuf& buffer : buffers_) {
        // Where this kernel exports none, who reads finds it in the DMA-BUF all the same.
        auto fence = buffer.export_sync_file(BufferAccess::read);
        if (!fence || !is_pending(*fence)) {
            continue;
        }
        if (all) {
            fence = SyncFile::merge(*all, *fence);
        }
        if (fence) {
            all.emplace(std::move(*fence));
        }
    }
    fence_.reset(gst_stepscope_fence_new(all ? std::move(*all).take().take() : -1));
    return GstPtr<GstStepscopeFence>(gst_stepscope_fence_ref(fence_.get()));
}

void CopyFences::returned() {
    if (!fence_) {
        return;
    }
    gsize count = 0;
    const std::unique_ptr<gint[], decltype(&g_free)> fds(
        gst_stepscope_fence_take_release_fds(fence_.get(), &count), g_free);
    fence_.reset();
    for (const gint raw : std::span(fds.get(), count)) {
        auto reader = SyncFile::adopt(UniqueFd(raw));
        if (!reader) {
            continue;
        }
        const bool told = !cpu_writes_ && std::ranges::all_of(buffers_, [&](const DmaBuf& buffer) {
            return buffer.import_sync_file(*reader, BufferAccess::read).has_value();
        });
        if (!told) {
            readers_.push_back(std::move(*reader));
        }
    }
    if (cpu_writes_) {
        for (const DmaBuf& buffer : buffers_) {
            if (auto users = buffer.export_sync_file(BufferAccess::write)) {
                readers_.push_back(std::move(*users));
            }
        }
    }
}

bool CopyFences::may_be_written() {
    std::erase_if(readers_, [](const SyncFile& reader) { return !is_pending(reader); });
    return readers_.empty();
}

}  // namespace stepscope
