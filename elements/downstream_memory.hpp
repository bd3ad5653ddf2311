// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "gst/slot_memory.hpp"

namespace stepscope {

/** What downstream proposes to put pictures into, with references of its own. */
struct MemoryProposal {
    GstPtr<GstBufferPool> pool;      // null: none
    GstPtr<GstAllocator> allocator;  // null: none
    GstAllocationParams params{};    // of the allocator
    GstPtr<GstCaps> caps;
    unsigned size = 0;     // bytes of a buffer of the pool
    unsigned minimum = 0;  // buffers of the pool
    unsigned maximum = 0;  // 0: any number
    bool video_meta = false;

    /** Of the answer to an allocation query. */
    static MemoryProposal from(GstQuery* query);
};

/**
 * DMA-BUFs that downstream allocates, by a pool or an allocator of its own. Buffers go back there,
 * as of any other element. Of one thread.
 */
class DownstreamMemory {
public:
    /** A buffer that nobody uses, and how DRM describes it. */
    struct Picture {
        GstPtr<GstBuffer> buffer;
        std::vector<SlotPlane> planes;
        PlaneLayout layout;
    };

    /** `buffers` may be in use at a time. An error where it makes no DMA-BUFs for that format. */
    static Result<std::unique_ptr<DownstreamMemory>> create(const MemoryProposal& proposal,
                                                            const PictureFormat& format,
                                                            uint32_t buffers);
    ~DownstreamMemory();
    DownstreamMemory(const DownstreamMemory&) = delete;
    DownstreamMemory& operator=(const DownstreamMemory&) = delete;

    bool is_of(const GstBufferPool* pool) const { return pool_.get() == pool; }

    /** Never waits: nothing while all buffers are in use. An error where there will be no more. */
    Result<std::optional<Picture>> acquire();

private:
    DownstreamMemory(GstPtr<GstBufferPool> pool, const PictureFormat& format,
                     const PlaneLayout& layout)
        : pool_(std::move(pool)), format_(format), layout_(layout) {}

    Result<void> activate(const MemoryProposal& proposal, uint32_t buffers, bool ours);
    Result<Picture> describe(GstPtr<GstBuffer> buffer) const;

    const GstPtr<GstBufferPool> pool_;
    const PictureFormat format_;
    const PlaneLayout layout_;  // of buffers without a GstVideoMeta
};

/**
 * Calls `returned` when nobody uses the buffer any more, on that thread; shortly after that its
 * pool has it again. Must not block. The buffer must be writable.
 */
void notify_when_returned(GstBuffer* buffer, std::function<void()> returned);

}  // namespace stepscope
