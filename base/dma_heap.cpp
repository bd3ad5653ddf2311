// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dma_heap.hpp"

#include <fcntl.h>
#include <linux/dma-heap.h>

#include <format>

#include "page_size.hpp"
#include "restarting_ioctl.hpp"

namespace stepscope {

Result<DmaHeap> DmaHeap::open(const std::string& name) {
    if (name.empty() || name.contains('/')) {
        return fail(Fault::usage,
                    std::format("'{}' is no name of a DMA heap; see /dev/dma_heap", name));
    }
    UniqueFd device(::open(("/dev/dma_heap/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!device) {
        return fail_errno(std::format("can't open /dev/dma_heap/{}", name));
    }
    return DmaHeap(std::move(device));
}

Result<DmaBuf> DmaHeap::allocate(size_t size) const {
    auto rounded = round_up_to_pages(size);
    if (!rounded) {
        return std::unexpected(rounded.error());
    }
    dma_heap_allocation_data argument{
        .len = *rounded, .fd = 0, .fd_flags = O_RDWR | O_CLOEXEC, .heap_flags = 0};
    if (restarting_ioctl(device_.get(), DMA_HEAP_IOCTL_ALLOC, &argument) < 0) {
        return fail_errno(std::format("can't allocate {} bytes from the DMA heap", *rounded));
    }
    return DmaBuf::adopt(UniqueFd(static_cast<int>(argument.fd)));
}

}  // namespace stepscope
