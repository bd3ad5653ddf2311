// SPDX-License-Identifier: LGPL-2.1-or-later
#include "udmabuf.hpp"

#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/mman.h>

#include <format>

#include "page_size.hpp"
#include "restarting_ioctl.hpp"

namespace stepscope {

Result<Udmabuf> Udmabuf::open(const std::string& path) {
    UniqueFd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!device) {
        return fail_errno(std::format("can't open {}", path));
    }
    return Udmabuf(std::move(device));
}

Result<DmaBuf> Udmabuf::allocate(size_t size) const {
    auto rounded = round_up_to_pages(size);
    if (!rounded) {
        return std::unexpected(rounded.error());
    }
    UniqueFd memory(::memfd_create("stepscope-udmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory || ::ftruncate(memory.get(), static_cast<off_t>(*rounded)) < 0) {
        return fail_errno(std::format("can't allocate {} bytes", *rounded));
    }
    if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
        return fail_errno("can't seal memory against shrinking");
    }
    return wrap(memory.get(), 0, *rounded);
}

Result<DmaBuf> Udmabuf::wrap(int memfd, uint64_t offset, uint64_t size) const {
    udmabuf_create argument{.memfd = static_cast<uint32_t>(memfd),
                            .flags = UDMABUF_FLAGS_CLOEXEC,
                            .offset = offset,
                            .size = size};
    const int fd = restarting_ioctl(device_.get(), UDMABUF_CREATE, &argument);
    if (fd < 0) {
        const int error = errno;
        // The kernel has one errno for everything that it does not like.
        const char* hint =
            error == EINVAL ? " (is it a memfd sealed against shrinking, in whole pages, and "
                              "within the limit of /sys/module/udmabuf/parameters/size_limit_mb?)"
                            : "";
        return fail_errno(std::format("can't make a DMA-BUF of {} bytes from memory{}", size, hint),
                          error);
    }
    return DmaBuf::adopt(UniqueFd(fd));
}

}  // namespace stepscope
