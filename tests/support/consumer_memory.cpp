// SPDX-License-Identifier: LGPL-2.1-or-later
#include "consumer_memory.hpp"

#include <fcntl.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/video/video.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>

namespace stepscope::test {
namespace {

ino_t inode_of(int fd) {
    struct stat status{};
    return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

}  // namespace

/** An allocator of DMA-BUFs that can be asked for memory, as those of sinks and encoders. */
struct ConsumerMemory::Allocator {
    GstDmaBufAllocator parent;
    ConsumerMemory* owner;

    static GstMemory* alloc(GstAllocator* allocator, gsize size, GstAllocationParams*) {
        ConsumerMemory& owner = *reinterpret_cast<Allocator*>(allocator)->owner;
        UniqueFd fd = owner.maker_(size);
        if (!fd) {
            return nullptr;
        }
        {
            std::lock_guard lock(owner.mutex_);
            owner.inodes_.insert(inode_of(fd.get()));
        }
        GstMemory* memory = gst_dmabuf_allocator_alloc(allocator, fd.get(), size);
        static_cast<void>(fd.take());
        return memory;
    }

    static void init_class(gpointer klass, gpointer) { GST_ALLOCATOR_CLASS(klass)->alloc = alloc; }

    static GType type() {
        static const GType type = g_type_register_static_simple(
            GST_TYPE_DMABUF_ALLOCATOR, "StepscopeTestAllocator", sizeof(GstDmaBufAllocatorClass),
            init_class, sizeof(Allocator), nullptr, G_TYPE_FLAG_NONE);
        return type;
    }
};

ConsumerMemory::ConsumerMemory(Maker maker) : maker_(std::move(maker)) {
    auto* made = static_cast<Allocator*>(g_object_new(Allocator::type(), nullptr));
    made->owner = this;
    allocator_.reset(GST_ALLOCATOR_CAST(gst_object_ref_sink(made)));
    GST_OBJECT_FLAG_UNSET(made, GST_ALLOCATOR_FLAG_CUSTOM_ALLOC);
}

ConsumerMemory::~ConsumerMemory() = default;

void ConsumerMemory::make_pool(GstBufferPool* pool, bool own_memory, unsigned padding) {
    pool_.reset(pool);
    GstStructure* config = gst_buffer_pool_get_config(pool);
    if (own_memory) {
        gst_buffer_pool_config_set_allocator(config, allocator_.get(), nullptr);
    }
    if (padding > 0) {
        GstVideoAlignment alignment;
        gst_video_alignment_reset(&alignment);
        alignment.padding_right = padding;
        gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
        gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
        gst_buffer_pool_config_set_video_alignment(config, &alignment);
    }
    gst_buffer_pool_set_config(pool, config);  // incomplete: the source completes it
}

void ConsumerMemory::offer_video_pool(GstElement* pipeline, unsigned padding, unsigned maximum) {
    padding_ = padding;
    maximum_ = maximum;
    make_pool(gst_video_buffer_pool_new(), true, padding);
    answer(pipeline, false);
}

void ConsumerMemory::offer_pool(GstElement* pipeline, unsigned size, unsigned maximum) {
    size_ = size;
    maximum_ = maximum;
    make_pool(gst_buffer_pool_new(), true, 0);
    answer(pipeline, false);
}

void ConsumerMemory::offer_allocator(GstElement* pipeline) {
    answer(pipeline, true);
}

void ConsumerMemory::offer_system_pool(GstElement* pipeline) {
    make_pool(gst_video_buffer_pool_new(), false, 0);
    answer(pipeline, false);
}

void ConsumerMemory::answer(GstElement* pipeline, bool with_allocator) {
    offers_allocator_ = with_allocator;
    auto handle = [](GstPad*, GstPadProbeInfo* info, gpointer data) {
        GstQuery* query = GST_PAD_PROBE_INFO_QUERY(info);
        auto& self = *static_cast<ConsumerMemory*>(data);
        if (GST_QUERY_TYPE(query) != GST_QUERY_ALLOCATION) {
            return GST_PAD_PROBE_OK;
        }
        GstCaps* caps = nullptr;
        gst_query_parse_allocation(query, &caps, nullptr);
        gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr);
        if (self.pool_) {
            GstVideoInfo video;
            unsigned size = self.size_;
            if (size == 0 && gst_video_info_from_caps(&video, caps)) {
                size = static_cast<unsigned>(video.size);
            }
            gst_query_add_allocation_pool(query, self.pool_.get(), size, 0, self.maximum_);
        }
        if (self.offers_allocator_) {
            gst_query_add_allocation_param(query, self.allocator_.get(), nullptr);
        }
        return GST_PAD_PROBE_HANDLED;
    };
    GstPtr<GstElement> sink(gst_bin_get_by_name(GST_BIN(pipeline), "sink"));
    GstPtr<GstPad> pad(gst_element_get_static_pad(sink.get(), "sink"));
    gst_pad_add_probe(pad.get(), GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, handle, this, nullptr);
}

bool ConsumerMemory::owns(int fd) const {
    std::lock_guard lock(mutex_);
    return inodes_.contains(inode_of(fd));
}

bool ConsumerMemory::owns(GstBuffer* buffer) const {
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    return gst_buffer_n_memory(buffer) == 1 && gst_is_dmabuf_memory(memory) &&
           owns(gst_dmabuf_memory_get_fd(memory));
}

size_t ConsumerMemory::made() const {
    std::lock_guard lock(mutex_);
    return inodes_.size();
}

UniqueFd make_sealed_file(size_t size) {
    UniqueFd fd(::memfd_create("consumer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) < 0 ||
        ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
        throw std::runtime_error("no memory for a consumer");
    }
    return fd;
}

}  // namespace stepscope::test
