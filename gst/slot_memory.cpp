// SPDX-License-Identifier: LGPL-2.1-or-later
#include "slot_memory.hpp"

#include <drm_fourcc.h>
#include <fcntl.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/allocators/gstfdmemory.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <format>

namespace stepscope {
namespace {

/** Planes that live in one file, and the part of the file that they use. */
struct File {
    int fd = -1;  // borrowed from the first of its planes
    dev_t device = 0;
    ino_t inode = 0;
    uint64_t size = 0;
    uint64_t begin = UINT64_MAX;
    uint64_t end = 0;
};

/** Keeps the slot alive for as long as its memory lives. */
GQuark owner_quark() {
    static const GQuark quark = g_quark_from_static_string("stepscope-slot");
    return quark;
}

void drop_owner(gpointer data) {
    delete static_cast<std::shared_ptr<SlotMemory>*>(data);
}

/** A new reference, unless the last one is gone: then its owner is just taking it back. */
bool try_ref(GstMemory* memory) {
    int* count = &GST_MINI_OBJECT_CAST(memory)->refcount;
    int seen = g_atomic_int_get(count);
    while (seen > 0) {
        if (g_atomic_int_compare_and_exchange_full(count, seen, seen + 1, &seen)) {
            return true;
        }
    }
    return false;
}

Result<File> inspect_file(int fd, const PictureFormat& format) {
    struct stat status{};
    if (::fstat(fd, &status) < 0) {
        return fail_errno("can't look at a slot's memory");
    }
    File file{fd, status.st_dev, status.st_ino, 0, UINT64_MAX, 0};
    if (format.memory == MemoryKind::memfd) {
        file.size = status.st_size > 0 ? static_cast<uint64_t>(status.st_size) : 0;
        // A file that can shrink could kill this process with SIGBUS at any read.
        int seals = ::fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
            return fail(Fault::protocol,
                        "the compositor sent shared memory that is not sealed against shrinking");
        }
    } else {
        off_t end = ::lseek(fd, 0, SEEK_END);
        if (end < 0) {
            return fail_errno("can't tell the size of a slot's DMA-BUF");
        }
        file.size = static_cast<uint64_t>(end);
    }
    return file;
}

/** End of the plane in its file; where rows mean nothing, all that is known: it is not empty. */
Result<uint64_t> plane_end(const PictureFormat& format, const SlotPlane& plane) {
    if (raw_video_format(format) == GST_VIDEO_FORMAT_UNKNOWN) {
        return uint64_t{plane.offset} + 1;
    }
    uint64_t row = uint64_t{format.width} * bytes_per_pixel(format.fourcc);
    if (plane.stride < row || plane.stride > G_MAXINT) {
        return fail(Fault::protocol,
                    std::format("the compositor sent a stride of {} bytes; a row of {} pixels "
                                "needs at least {}",
                                plane.stride, format.width, row));
    }
    return uint64_t{plane.offset} + uint64_t{plane.stride} * format.height;
}

/** Makes the memory; takes a descriptor of its own. */
Result<GstPtr<GstMemory>> make_memory(const PictureFormat& format, const File& file) {
    UniqueFd fd = UniqueFd::duplicate(file.fd);
    if (!fd) {
        return fail_errno("can't duplicate a slot's file descriptor");
    }
    GstPtr<GstMemory> memory;
    if (format.memory == MemoryKind::memfd) {
        GstPtr<GstAllocator> allocator(gst_fd_allocator_new());
        memory.reset(gst_fd_allocator_alloc(allocator.get(), fd.get(), file.size,
                                            GST_FD_MEMORY_FLAG_KEEP_MAPPED));
    } else {
        GstPtr<GstAllocator> allocator(gst_dmabuf_allocator_new());
        memory.reset(gst_dmabuf_allocator_alloc_with_flags(allocator.get(), fd.get(), file.size,
                                                           GST_FD_MEMORY_FLAG_KEEP_MAPPED));
    }
    if (!memory) {
        return fail(Fault::unsupported, "GStreamer can't wrap a slot's file descriptor");
    }
    static_cast<void>(fd.take());
    if (format.memory == MemoryKind::memfd) {
        gst_memory_resize(memory.get(), static_cast<gssize>(file.begin), file.end - file.begin);
    }
    // The game may be reading these pixels for its next picture: nobody scribbles on them.
    GST_MINI_OBJECT_FLAG_SET(memory.get(), GST_MEMORY_FLAG_READONLY);
    return memory;
}

}  // namespace

SlotMemory::SlotMemory(const PictureFormat& format, Released released)
    : format_(format), released_(std::move(released)) {}

SlotMemory::~SlotMemory() = default;

Result<std::shared_ptr<SlotMemory>> SlotMemory::create(const PictureFormat& format,
                                                       std::vector<SlotPlane> planes,
                                                       Released released) {
    if (planes.empty() || planes.size() > 4) {
        return fail(Fault::protocol, std::format("the compositor sent a slot of {} planes; 1 to 4 "
                                                 "are possible",
                                                 planes.size()));
    }
    std::vector<File> files;
    std::array<size_t, 4> file_of{};
    for (size_t index = 0; index < planes.size(); ++index) {
        const SlotPlane& plane = planes[index];
        auto inspected = inspect_file(plane.fd.get(), format);
        if (!inspected) {
            return std::unexpected(inspected.error());
        }
        auto end = plane_end(format, plane);
        if (!end) {
            return std::unexpected(end.error());
        }
        if (*end > inspected->size) {
            return fail(Fault::protocol,
                        std::format("the compositor sent a plane that ends at byte {} of a file of "
                                    "{} bytes",
                                    *end, inspected->size));
        }
        auto same = std::ranges::find_if(files, [&](const File& file) {
            return file.device == inspected->device && file.inode == inspected->inode;
        });
        if (same == files.end()) {
            same = files.insert(files.end(), *inspected);
        }
        same->begin = std::min<uint64_t>(same->begin, plane.offset);
        same->end = std::max(same->end, *end);
        file_of[index] = static_cast<size_t>(same - files.begin());
    }

    std::shared_ptr<SlotMemory> slot(new SlotMemory(format, std::move(released)));
    std::vector<uint64_t> base;  // of each file, within the concatenation
    std::vector<GstPtr<GstMemory>> memories;
    uint64_t total = 0;
    for (File& file : files) {
        // Importers of DMA-BUFs expect the whole file; readers of rows expect the rows alone.
        if (format.memory == MemoryKind::dmabuf) {
            file.begin = 0;
            file.end = file.size;
        }
        auto memory = make_memory(format, file);
        if (!memory) {
            return std::unexpected(memory.error());
        }
        memories.push_back(std::move(*memory));
        base.push_back(total);
        total += file.end - file.begin;
    }
    slot->layout_.planes = static_cast<unsigned>(planes.size());
    for (size_t index = 0; index < planes.size(); ++index) {
        slot->layout_.offset[index] =
            base[file_of[index]] + planes[index].offset - files[file_of[index]].begin;
        slot->layout_.stride[index] = static_cast<gint>(planes[index].stride);
    }
    slot->memory_count_ = memories.size();
    for (GstPtr<GstMemory>& memory : memories) {
        gst_mini_object_set_qdata(GST_MINI_OBJECT_CAST(memory.get()), owner_quark(),
                                  new std::shared_ptr<SlotMemory>(slot), drop_owner);
        GST_MINI_OBJECT_CAST(memory.get())->dispose = handle_dispose;
        slot->entries_.push_back({memory.release(), true});
    }
    return slot;
}

std::vector<GstPtr<GstMemory>> SlotMemory::acquire(uint32_t serial) {
    std::vector<GstPtr<GstMemory>> memories;
    std::vector<uint32_t> older;
    std::unique_lock lock(mutex_);
    for (Entry& entry : entries_) {
        // Another thread may have given the last reference up and not have got the lock yet. Only
        // that thread may revive the memory, else two of them would.
        came_back_.wait(lock, [&] { return entry.idle || try_ref(entry.memory); });
        entry.idle = false;
        memories.emplace_back(entry.memory);
    }
    // The newest frame keeps the memory for those before it, too: they need not.
    older.swap(serials_);
    serials_.push_back(serial);
    lock.unlock();
    if (!older.empty()) {
        released_(older);
    }
    return memories;
}

gboolean SlotMemory::handle_dispose(GstMiniObject* object) {
    // Called when the last reference is gone; FALSE keeps the object.
    auto* owner =
        static_cast<std::shared_ptr<SlotMemory>*>(gst_mini_object_get_qdata(object, owner_quark()));
    std::shared_ptr<SlotMemory> slot = *owner;
    return slot->take_back(GST_MEMORY_CAST(object)) ? FALSE : TRUE;
}

bool SlotMemory::take_back(GstMemory* memory) {
    std::vector<uint32_t> done;
    bool kept = false;
    {
        std::lock_guard lock(mutex_);
        auto entry = std::ranges::find(entries_, memory, &Entry::memory);
        if (retired_) {
            entries_.erase(entry);
        } else {
            gst_memory_ref(memory);
            entry->idle = true;
            kept = true;
        }
        if (std::ranges::all_of(entries_, &Entry::idle)) {
            done.swap(serials_);
        }
        came_back_.notify_all();
    }
    if (!done.empty()) {
        released_(done);
    }
    return kept;
}

void SlotMemory::retire() {
    std::vector<GstMemory*> idle;
    {
        std::lock_guard lock(mutex_);
        retired_ = true;
        std::erase_if(entries_, [&](const Entry& entry) {
            if (entry.idle) {
                idle.push_back(entry.memory);
            }
            return entry.idle;
        });
    }
    // The caller's reference keeps this object while its memories let go of it.
    for (GstMemory* memory : idle) {
        GST_MINI_OBJECT_CAST(memory)->dispose = nullptr;
        gst_memory_unref(memory);
    }
}

}  // namespace stepscope
