// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "gst_ptr.hpp"
#include "picture_caps.hpp"

namespace stepscope {

/** One plane of a slot, as the compositor announced it. */
struct SlotPlane {
    UniqueFd fd;
    uint32_t offset = 0;  // bytes from the start of the file
    uint32_t stride = 0;  // bytes
};

/** Planes as GstVideoMeta wants them: offsets count through the memories of a buffer. */
struct PlaneLayout {
    unsigned planes = 0;
    std::array<gsize, 4> offset{};
    std::array<gint, 4> stride{};
};

/**
 * The memory of one slot: the same GstMemory objects for the slot's life, so that whatever
 * consumers cache for a memory (a mapping, a texture, an imported surface) is made once.
 *
 * The last unref of a memory does not free it but brings it back here; when all have come back, the
 * serials of the frames that used them are handed to the `Released` callback. The memories keep
 * this object, and with it the callback and what it owns, alive.
 *
 * All methods may be called from any thread.
 */
class SlotMemory : public std::enable_shared_from_this<SlotMemory> {
public:
    /** Called without locks, on the thread that gave the last reference up. Must not block. */
    using Released = std::function<void(const std::vector<uint32_t>& serials)>;

    /**
     * Checks the planes against the format and the size of their files, and makes one memory per
     * distinct file. Bad data is a Fault::protocol.
     */
    static Result<std::shared_ptr<SlotMemory>> create(const PictureFormat& format,
                                                      std::vector<SlotPlane> planes,
                                                      Released released);

    ~SlotMemory();
    SlotMemory(const SlotMemory&) = delete;
    SlotMemory& operator=(const SlotMemory&) = delete;

    /**
     * A reference of each memory for the frame `serial`, in order. Frames whose memory is still in
     * use are released: this one holds it now.
     */
    std::vector<GstPtr<GstMemory>> acquire(uint32_t serial);

    /**
     * No frame will use this slot again: memories are freed when their last reference goes, those
     * that nobody uses at once. Whoever creates a slot must retire it.
     */
    void retire();

    const PlaneLayout& layout() const { return layout_; }
    const PictureFormat& format() const { return format_; }
    /** How many GstMemory objects were made for it. */
    size_t memory_count() const { return memory_count_; }

private:
    struct Entry {
        GstMemory* memory = nullptr;  // owned while idle
        bool idle = true;
    };

    SlotMemory(const PictureFormat& format, Released released);
    static gboolean handle_dispose(GstMiniObject* object);
    bool take_back(GstMemory* memory);

    const PictureFormat format_;
    const Released released_;
    PlaneLayout layout_;
    size_t memory_count_ = 0;

    std::mutex mutex_;
    std::condition_variable came_back_;
    std::vector<Entry> entries_;
    std::vector<uint32_t> serials_;
    bool retired_ = false;
};

}  // namespace stepscope
