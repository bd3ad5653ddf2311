// SPDX-License-Identifier: LGPL-2.1-or-later
#include "memfd_allocator.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <memory>

#include "base/unique_fd.hpp"
#include "frame_memory.hpp"

namespace stepscope {
namespace {

/** Rows start at a cache line, as the converters of GStreamer like them. */
constexpr size_t kStrideAlignment = 64;

class MemfdBuffer {
public:
    static wlr_buffer* create(int width, int height, uint32_t fourcc) {
        auto self = std::make_unique<MemfdBuffer>();
        const size_t stride =
            (static_cast<size_t>(width) * bytes_per_pixel(fourcc) + kStrideAlignment - 1) /
            kStrideAlignment * kStrideAlignment;
        self->size_ = stride * static_cast<size_t>(height);
        self->fd_.reset(::memfd_create("stepscope-picture", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        if (!self->fd_ || ::ftruncate(self->fd_.get(), static_cast<off_t>(self->size_)) < 0 ||
            ::fcntl(self->fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
            return nullptr;
        }
        void* data =
            ::mmap(nullptr, self->size_, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd_.get(), 0);
        if (data == MAP_FAILED) {
            return nullptr;
        }
        self->data_ = data;
        self->attributes_ = {.fd = self->fd_.get(),
                             .format = fourcc,
                             .width = width,
                             .height = height,
                             .stride = static_cast<int>(stride),
                             .offset = 0};
        static const wlr_buffer_impl impl{
            .destroy = destroy,
            .get_dmabuf = nullptr,
            .get_shm = get_shm,
            .begin_data_ptr_access = begin_access,
            .end_data_ptr_access = [](wlr_buffer*) {},
        };
        wlr_buffer_init(&self->buffer_, &impl, width, height);
        return &self.release()->buffer_;  // ends in destroy()
    }

    MemfdBuffer() = default;
    MemfdBuffer(const MemfdBuffer&) = delete;
    MemfdBuffer& operator=(const MemfdBuffer&) = delete;
    ~MemfdBuffer() {
        if (data_ != nullptr) {
            ::munmap(data_, size_);
        }
    }

private:
    static MemfdBuffer* self_of(wlr_buffer* buffer) {
        MemfdBuffer* self = nullptr;
        return wl_container_of(buffer, self, buffer_);
    }
    static void destroy(wlr_buffer* buffer) {
        wlr_buffer_finish(buffer);
        delete self_of(buffer);
    }
    static bool get_shm(wlr_buffer* buffer, wlr_shm_attributes* attributes) {
        *attributes = self_of(buffer)->attributes_;
        return true;
    }
    static bool begin_access(wlr_buffer* buffer, uint32_t /*flags*/, void** data, uint32_t* format,
                             size_t* stride) {
        const MemfdBuffer* self = self_of(buffer);
        *data = self->data_;
        *format = self->attributes_.format;
        *stride = static_cast<size_t>(self->attributes_.stride);
        return true;
    }

    wlr_buffer buffer_{};
    UniqueFd fd_;
    void* data_ = nullptr;
    size_t size_ = 0;
    wlr_shm_attributes attributes_{};
};

}  // namespace

wlr_allocator* create_memfd_allocator() {
    static const wlr_allocator_interface impl{
        .create_buffer =
            [](wlr_allocator*, int width, int height, const wlr_drm_format* format) {
                return MemfdBuffer::create(width, height, format->format);
            },
        .destroy = [](wlr_allocator* allocator) { delete allocator; },
    };
    auto* allocator = new wlr_allocator{};  // ends in the interface's destroy
    wlr_allocator_init(allocator, &impl, WLR_BUFFER_CAP_DATA_PTR | WLR_BUFFER_CAP_SHM);
    return allocator;
}

}  // namespace stepscope
