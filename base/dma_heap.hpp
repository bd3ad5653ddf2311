// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "dmabuf.hpp"
#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** A heap that DMA-BUFs are allocated from. May be used by several threads at once. */
class DmaHeap {
public:
    /** By its name in /dev/dma_heap. Fault::not_found or permission where it can't be used. */
    static Result<DmaHeap> open(const std::string& name = "system");

    /** A new buffer of at least `size` bytes (whole pages), filled with zeros. */
    Result<DmaBuf> allocate(size_t size) const;

private:
    explicit DmaHeap(UniqueFd device) : device_(std::move(device)) {}
    UniqueFd device_;
};

}  // namespace stepscope
