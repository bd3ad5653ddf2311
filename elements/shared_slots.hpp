// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/video/video.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/dmabuf.hpp"
#include "frame_server.hpp"
#include "gst/picture_caps.hpp"

namespace stepscope {

/** Where the planes of a picture are in the memories of its buffer. */
struct BufferLayout {
    unsigned planes = 0;
    std::array<gsize, 4> offset{};
    std::array<gint, 4> stride{};

    auto operator<=>(const BufferLayout&) const = default;
};

/** The layout of a buffer: its GstVideoMeta, else what `info` says; null where only that tells. */
std::optional<BufferLayout> layout_of(GstBuffer* buffer, const GstVideoInfo* info);

/** The kind of memory that consumers could share; none if it must be copied. */
std::optional<MemoryKind> shareable_kind(GstBuffer* buffer);

/**
 * Which memory was announced to consumers under which number. Memory is announced when it is first
 * used, and taken back after it was freed. Of one thread.
 */
class SharedSlots {
public:
    explicit SharedSlots(FrameServer& server);

    /** The number of the buffer's memory. */
    Result<uint32_t> find_or_add(GstBuffer* buffer, const BufferLayout& layout);

    /** The DMA-BUFs of a slot; none for shared memory. */
    const std::vector<DmaBuf>& dmabufs(uint32_t slot) const;

    /** Takes everything back: the stream changes. */
    void clear();

    size_t announced() const { return announced_; }

private:
    struct Key {
        std::vector<std::pair<GstMemory*, gsize>> memories;  // and where they begin in them
        BufferLayout layout;

        auto operator<=>(const Key&) const = default;
    };
    struct Entry {
        uint32_t slot = 0;
        std::vector<DmaBuf> dmabufs;
    };
    /** Memories that were freed, by any thread. Outlives this object where they do. */
    struct Freed {
        std::mutex mutex;
        std::vector<GstMemory*> memories;
    };
    static void handle_freed(gpointer data, GstMiniObject* memory);
    void remove_freed();

    FrameServer& server_;
    const std::shared_ptr<Freed> freed_ = std::make_shared<Freed>();
    std::map<Key, Entry> entries_;
    size_t announced_ = 0;
};

}  // namespace stepscope
