// SPDX-License-Identifier: LGPL-2.1-or-later
#include "shared_memory.hpp"

#include <fcntl.h>
#include <gst/allocators/gstfdmemory.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace {

struct StepscopeSharedAllocator {
    GstFdAllocator parent;
};
struct StepscopeSharedAllocatorClass {
    GstFdAllocatorClass parent;
};

G_DEFINE_TYPE(StepscopeSharedAllocator, stepscope_shared_allocator, GST_TYPE_FD_ALLOCATOR)

GstMemory* alloc(GstAllocator* allocator, gsize size, GstAllocationParams* params) {
    const gsize whole = size + params->prefix + params->padding;
    stepscope::UniqueFd fd(::memfd_create("stepscope-picture", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(whole)) < 0 ||
        ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return nullptr;
    }
    GstMemory* memory =
        gst_fd_allocator_alloc(allocator, fd.get(), whole, GST_FD_MEMORY_FLAG_KEEP_MAPPED);
    if (memory == nullptr) {
        return nullptr;
    }
    static_cast<void>(fd.take());
    gst_memory_resize(memory, static_cast<gssize>(params->prefix), size);
    return memory;
}

void stepscope_shared_allocator_class_init(StepscopeSharedAllocatorClass* klass) {
    GST_ALLOCATOR_CLASS(klass)->alloc = alloc;
}

void stepscope_shared_allocator_init(StepscopeSharedAllocator* self) {
    // GStreamer keeps memory of such an allocator from being made with gst_allocator_alloc().
    GST_OBJECT_FLAG_UNSET(self, GST_ALLOCATOR_FLAG_CUSTOM_ALLOC);
}

}  // namespace

namespace stepscope {

GstPtr<GstAllocator> shared_allocator() {
    auto* made =
        static_cast<GstAllocator*>(g_object_new(stepscope_shared_allocator_get_type(), nullptr));
    return GstPtr<GstAllocator>(static_cast<GstAllocator*>(gst_object_ref_sink(made)));
}

GstPtr<GstBufferPool> make_shared_pool(GstCaps* caps, const GstVideoInfo& info, guint least) {
    GstPtr<GstAllocator> allocator = shared_allocator();
    GstPtr<GstBufferPool> pool(gst_video_buffer_pool_new());
    GstStructure* config = gst_buffer_pool_get_config(pool.get());
    gst_buffer_pool_config_set_params(config, caps, static_cast<guint>(GST_VIDEO_INFO_SIZE(&info)),
                                      least, 0);
    gst_buffer_pool_config_set_allocator(config, allocator.get(), nullptr);
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    if (!gst_buffer_pool_set_config(pool.get(), config)) {
        return nullptr;
    }
    return pool;
}

}  // namespace stepscope
