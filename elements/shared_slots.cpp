// SPDX-License-Identifier: LGPL-2.1-or-later
#include "shared_slots.hpp"

#include <fcntl.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/allocators/gstfdmemory.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <format>

namespace stepscope {
namespace {

/** The memory that owns the file: parts of it are memories, too. */
GstMemory* whole(GstMemory* memory) {
    while (memory->parent != nullptr) {
        memory = memory->parent;
    }
    return memory;
}

int file_of(GstMemory* memory) {
    return gst_is_dmabuf_memory(memory) ? gst_dmabuf_memory_get_fd(memory)
                                        : gst_fd_memory_get_fd(memory);
}

/** Whether readers of the file can trust that it stays as long as it is. */
bool seal(int fd) {
    const int seals = ::fcntl(fd, F_GET_SEALS);
    return seals >= 0 &&
           ((seals & F_SEAL_SHRINK) != 0 || ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
}

/** A descriptor for consumers: of shared memory one that can't write. */
UniqueFd descriptor_for_readers(int fd, bool dmabuf) {
    if (!dmabuf) {
        UniqueFd reader(::open(std::format("/proc/self/fd/{}", fd).c_str(), O_RDONLY | O_CLOEXEC));
        if (reader) {
            return reader;
        }
    }
    return UniqueFd::duplicate(fd);
}

}  // namespace

std::optional<BufferLayout> layout_of(GstBuffer* buffer, const GstVideoInfo* info) {
    BufferLayout layout;
    if (const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer); meta != nullptr) {
        layout.planes = meta->n_planes;
        std::copy_n(meta->offset, 4, layout.offset.begin());
        std::copy_n(meta->stride, 4, layout.stride.begin());
    } else if (info != nullptr) {
        layout.planes = GST_VIDEO_INFO_N_PLANES(info);
        std::copy_n(info->offset, 4, layout.offset.begin());
        std::copy_n(info->stride, 4, layout.stride.begin());
    }
    if (layout.planes < 1 || layout.planes > 4) {
        return std::nullopt;
    }
    return layout;
}

std::optional<MemoryKind> shareable_kind(GstBuffer* buffer) {
    std::optional<MemoryKind> kind;
    for (guint index = 0; index < gst_buffer_n_memory(buffer); ++index) {
        GstMemory* memory = gst_buffer_peek_memory(buffer, index);
        MemoryKind own = MemoryKind::dmabuf;
        if (!gst_is_dmabuf_memory(memory)) {
            if (!gst_is_fd_memory(memory) || !seal(gst_fd_memory_get_fd(memory))) {
                return std::nullopt;
            }
            own = MemoryKind::memfd;
        }
        if (kind && *kind != own) {
            return std::nullopt;
        }
        kind = own;
    }
    return gst_buffer_n_memory(buffer) <= 4 ? kind : std::nullopt;
}

SharedSlots::SharedSlots(FrameServer& server) : server_(server) {}

void SharedSlots::handle_freed(gpointer data, GstMiniObject* memory) {
    // Called by whoever gave the last reference up: only takes a note.
    std::unique_ptr<std::shared_ptr<Freed>> freed(static_cast<std::shared_ptr<Freed>*>(data));
    std::lock_guard lock((*freed)->mutex);
    (*freed)->memories.push_back(GST_MEMORY_CAST(memory));
}

void SharedSlots::remove_freed() {
    std::vector<GstMemory*> freed;
    {
        std::lock_guard lock(freed_->mutex);
        freed.swap(freed_->memories);
    }
    for (GstMemory* memory : freed) {
        std::erase_if(entries_, [&](const auto& entry) {
            const auto& memories = entry.first.memories;
            const bool uses =
                std::ranges::any_of(memories, [&](const auto& one) { return one.first == memory; });
            if (uses) {
                server_.remove_slot(entry.second.slot);
            }
            return uses;
        });
    }
}

void SharedSlots::clear() {
    for (const auto& [key, entry] : entries_) {
        server_.remove_slot(entry.slot);
    }
    entries_.clear();
}

const std::vector<DmaBuf>& SharedSlots::dmabufs(uint32_t slot) const {
    static const std::vector<DmaBuf> none;
    const auto found = std::ranges::find_if(
        entries_, [&](const auto& entry) { return entry.second.slot == slot; });
    return found != entries_.end() ? found->second.dmabufs : none;
}

Result<uint32_t> SharedSlots::find_or_add(GstBuffer* buffer, const BufferLayout& layout) {
    remove_freed();
    Key key{{}, layout};
    for (guint index = 0; index < gst_buffer_n_memory(buffer); ++index) {
        GstMemory* memory = gst_buffer_peek_memory(buffer, index);
        key.memories.emplace_back(whole(memory), memory->offset);
    }
    if (const auto known = entries_.find(key); known != entries_.end()) {
        return known->second.slot;
    }

    wire::Slot slot{.planes = layout.planes, .files = static_cast<uint32_t>(key.memories.size())};
    for (unsigned plane = 0; plane < layout.planes; ++plane) {
        guint index = 0;
        guint length = 0;
        gsize skip = 0;
        if (layout.stride[plane] < 0 ||
            !gst_buffer_find_memory(buffer, layout.offset[plane], 1, &index, &length, &skip)) {
            return fail(Fault::unsupported,
                        std::format("plane {} of a buffer lies in none of its memories", plane));
        }
        slot.plane[plane] = {.file = index,
                             .stride = static_cast<uint32_t>(layout.stride[plane]),
                             .offset = skip + key.memories[index].second};
    }
    Entry entry;
    std::vector<UniqueFd> files;
    for (size_t index = 0; index < key.memories.size(); ++index) {
        GstMemory* memory = gst_buffer_peek_memory(buffer, static_cast<guint>(index));
        const bool dmabuf = gst_is_dmabuf_memory(memory) != FALSE;
        UniqueFd file = descriptor_for_readers(file_of(memory), dmabuf);
        if (!file) {
            return fail_errno("can't get a descriptor for consumers");
        }
        if (dmabuf) {
            auto adopted = DmaBuf::adopt(file.duplicate());
            if (!adopted) {
                return std::unexpected(adopted.error());
            }
            slot.file_size[index] = adopted->size();
            entry.dmabufs.push_back(std::move(*adopted));
        } else {
            struct stat status{};
            if (::fstat(file.get(), &status) < 0) {
                return fail_errno("can't look at the memory of a buffer");
            }
            slot.file_size[index] = static_cast<uint64_t>(status.st_size);
        }
        files.push_back(std::move(file));
    }
    entry.slot = server_.add_slot(slot, std::move(files));
    const uint32_t number = entry.slot;
    for (const auto& [memory, offset] : key.memories) {
        gst_mini_object_weak_ref(GST_MINI_OBJECT_CAST(memory), handle_freed,
                                 new std::shared_ptr<Freed>(freed_));
    }
    entries_.emplace(std::move(key), std::move(entry));
    ++announced_;
    return number;
}

}  // namespace stepscope
