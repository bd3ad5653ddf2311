// SPDX-License-Identifier: LGPL-2.1-or-later
#include "shm_memory.hpp"

#include <sys/mman.h>

#include <utility>

namespace stepscope::testgame {

ShmMemory::ShmMemory(UniqueFd fd, uint8_t* data, size_t size)
    : fd_(std::move(fd)), data_(data), size_(size) {}

ShmMemory::~ShmMemory() {
    munmap(data_, size_);
}

Result<std::shared_ptr<ShmMemory>> ShmMemory::create(size_t size, bool sealable) {
    UniqueFd fd(memfd_create("testgame", MFD_CLOEXEC | (sealable ? MFD_ALLOW_SEALING : 0U)));
    if (!fd || ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
        return fail_errno("can't create " + std::to_string(size) + " bytes of shared memory");
    }
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (data == MAP_FAILED) {
        return fail_errno("can't map " + std::to_string(size) + " bytes of shared memory");
    }
    return std::shared_ptr<ShmMemory>(
        new ShmMemory(std::move(fd), static_cast<uint8_t*>(data), size));
}

Result<std::vector<ShmImage>> create_images(unsigned count, int width, int height, bool sealable,
                                            bool shared) {
    const size_t bytes = static_cast<size_t>(width) * 4 * static_cast<size_t>(height);
    std::vector<ShmImage> images;
    images.reserve(count);
    std::shared_ptr<ShmMemory> memory;
    for (unsigned i = 0; i < count; ++i) {
        if (!memory || !shared) {
            auto created = ShmMemory::create(shared ? bytes * count : bytes, sealable);
            if (!created) {
                return std::unexpected(created.error());
            }
            memory = *created;
        }
        images.push_back({memory, shared ? bytes * i : 0, width, height});
    }
    return images;
}

}  // namespace stepscope::testgame
