// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_buffer.hpp"

#include <fcntl.h>

#include "buffer_fences.hpp"
#include "frame_memory.hpp"
#include "log.hpp"
#include "pacer.hpp"
#include "pipewire_metadata.hpp"

namespace stepscope {
namespace {

/** At the end of a buffer's blocks: for acquiring, and for releasing. */
constexpr unsigned kTimelineBlocks = 2;

bool is_pending(const SyncFile& fence) {
    auto over = fence.wait(std::chrono::nanoseconds(0));
    return over && !*over;
}

}  // namespace

void PipewireBuffer::assign(wlr_buffer* memory) {
    memory_ = memory;
    destroyed_.connect(memory_->events.destroy, [this](void*) {
        memory_ = nullptr;
        destroyed_.disconnect();
    });
}

void PipewireBuffer::assign(OwnPicture memory) {
    own_ = std::move(memory);
    memory_ = own_.get();
}

Result<void> PipewireBuffer::describe(int device) {
    if (memory_ == nullptr) {
        return fail(Fault::system, "no memory for a picture");
    }
    auto memory = describe_buffer(memory_, Owner::compositor);
    if (!memory) {
        return std::unexpected(memory.error());
    }
    spa_buffer& buffer = *pw_->buffer;
    const bool synced = has_sync_points(&buffer);
    if (buffer.n_datas < memory->planes + (synced ? kTimelineBlocks : 0)) {
        return fail(Fault::protocol, "too few blocks in a buffer of PipeWire's");
    }
    const bool dmabuf = memory->kind == FrameMemory::Kind::dmabuf;
    for (unsigned i = 0; i < memory->planes; ++i) {
        const FrameMemory::Plane& plane = memory->plane[i];
        spa_data& data = buffer.datas[i];
        const UniqueFd& fd = fds_.emplace_back(::fcntl(plane.fd, F_DUPFD_CLOEXEC, 0));
        const uint32_t bytes = plane.stride * memory->height;
        data.type = dmabuf ? SPA_DATA_DmaBuf : SPA_DATA_MemFd;
        data.flags = SPA_DATA_FLAG_READABLE | (dmabuf ? 0U : uint32_t{SPA_DATA_FLAG_MAPPABLE});
        data.fd = fd.get();
        data.data = nullptr;
        // Who imports DMA-BUFs finds a plane by the chunk, who maps files by the mapping.
        data.mapoffset = dmabuf ? 0 : plane.offset;
        data.maxsize = dmabuf ? plane.offset + bytes : bytes;
        data.chunk->offset = dmabuf ? plane.offset : 0;
        data.chunk->size = bytes;
        data.chunk->stride = static_cast<int32_t>(plane.stride);
        data.chunk->flags = SPA_CHUNK_FLAG_NONE;
    }
    if (!synced) {
        return {};
    }
    auto timeline = Timeline::create(device);
    if (!timeline) {
        return std::unexpected(timeline.error());
    }
    for (unsigned i = buffer.n_datas - kTimelineBlocks; i < buffer.n_datas; ++i) {
        auto fd = timeline->export_fd();
        if (!fd) {
            return std::unexpected(fd.error());
        }
        spa_data& data = buffer.datas[i];
        data.type = SPA_DATA_SyncObj;
        data.flags = SPA_DATA_FLAG_READWRITE;
        data.fd = fds_.emplace_back(std::move(*fd)).get();
        data.mapoffset = 0;
        data.maxsize = 0;
        data.data = nullptr;
    }
    timeline_.emplace(std::move(*timeline));
    return {};
}

void PipewireBuffer::send(uint64_t picture, const Owners& owners) {
    if (!own_) {
        held_ = true;
        wlr_buffer_lock(memory_);
        owners.lending.lend(memory_);
    }
    home_ = false;
    out_ = true;
    taken_ = false;
    picture_ = picture;
}

void PipewireBuffer::set_acquire(const SyncFile* fence) {
    if (!timeline_) {
        return;
    }
    const uint64_t acquire = ++point_;
    const uint64_t release = ++point_;
    Result<void> done =
        fence != nullptr ? timeline_->import_point(acquire, *fence) : timeline_->signal(acquire);
    if (!done) {
        log("PipeWire: {}; waiting for the picture", done.error().message);
        if (fence != nullptr) {
            static_cast<void>(fence->wait(std::nullopt));
        }
        static_cast<void>(timeline_->signal(acquire));
    }
    write_sync_points(pw_->buffer, acquire, release);
}

// The fence of the last consumer's reading: none inside if it is over; nothing at all if it can't
// be known yet.
std::optional<std::optional<SyncFile>> PipewireBuffer::release_fence() {
    std::optional<SyncFile> fence;
    if (timeline_ && read_release(pw_->buffer) == Release::promised) {
        auto point = timeline_->export_point(point_);
        if (!point) {
            return std::nullopt;
        }
        fence.emplace(std::move(*point));
    }
    // Drivers that know nothing of timelines leave theirs in the memory.
    if (memory_ != nullptr) {
        if (auto readers = implicit_fence(memory_, BufferAccess::write)) {
            merge_into(fence, std::move(*readers));
        }
    }
    if (fence && !is_pending(*fence)) {
        fence.reset();
    }
    return fence;
}

bool PipewireBuffer::take_back(uint64_t over, const Owners& owners) {
    // What is with us counts as one user.
    const bool used = busy_count(pw_->buffer) > (home_ ? 1 : 0);
    taken_ = taken_ || used;
    if (!out_ || !home_ || used || !(taken_ || picture_ < over)) {
        return false;
    }
    if (!reading_) {
        auto fence = release_fence();
        if (!fence) {
            return false;
        }
        reading_ = std::move(*fence);
    }
    if (wlr_buffer* hold = take_hold()) {
        // Whoever it belongs to waits, not we.
        owners.returns.take(hold, std::exchange(reading_, std::nullopt));
    } else if (reading_ && is_pending(*reading_)) {
        return false;
    }
    reading_.reset();
    out_ = false;
    return true;
}

wlr_buffer* PipewireBuffer::take_hold() {
    return std::exchange(held_, false) ? memory_ : nullptr;
}

}  // namespace stepscope
