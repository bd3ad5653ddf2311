// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include "base/unique_fd.hpp"
#include "gst/gst_ptr.hpp"

namespace stepscope::test {

/**
 * A consumer that wants pictures in memory of its own: answers the allocation query of a
 * pipeline's sink. Must outlive the pipeline.
 */
class ConsumerMemory {
public:
    /** Makes a file of so many bytes, a DMA-BUF or what is to pass for one. */
    using Maker = std::function<UniqueFd(size_t)>;

    explicit ConsumerMemory(Maker maker);
    ~ConsumerMemory();
    ConsumerMemory(const ConsumerMemory&) = delete;
    ConsumerMemory& operator=(const ConsumerMemory&) = delete;

    /** With a pool of video buffers, whose rows have `padding` pixels more; for plain caps. */
    void offer_video_pool(GstElement* pipeline, unsigned padding = 0, unsigned maximum = 0);
    /** With a pool of buffers of `size` bytes that say nothing of planes. */
    void offer_pool(GstElement* pipeline, unsigned size, unsigned maximum = 0);
    /** With the allocator alone. */
    void offer_allocator(GstElement* pipeline);
    /** With a pool of system memory. */
    void offer_system_pool(GstElement* pipeline);

    /** Whether the buffer is memory of this consumer. */
    bool owns(GstBuffer* buffer) const;
    bool owns(int fd) const;
    bool is_of_pool(const GstBuffer* buffer) const { return buffer->pool == pool_.get(); }
    /** How many memories it has made. */
    size_t made() const;

private:
    struct Allocator;
    void answer(GstElement* pipeline, bool with_allocator);
    void make_pool(GstBufferPool* pool, bool own_memory, unsigned padding);

    const Maker maker_;
    GstPtr<GstAllocator> allocator_;
    GstPtr<GstBufferPool> pool_;
    bool offers_allocator_ = false;
    unsigned padding_ = 0;
    unsigned maximum_ = 0;
    unsigned size_ = 0;  // 0: as the caps say
    mutable std::mutex mutex_;
    std::set<ino_t> inodes_;
};

/** Makes memory that passes for a DMA-BUF as long as nobody looks for fences. */
UniqueFd make_sealed_file(size_t size);

}  // namespace stepscope::test
