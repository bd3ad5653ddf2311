// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "dmabuf.hpp"
#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** /dev/udmabuf: makes DMA-BUFs out of ordinary memory. May be used by several threads at once. */
class Udmabuf {
public:
    /** Fault::not_found or permission where this machine does not let us. */
    static Result<Udmabuf> open(const std::string& path = "/dev/udmabuf");

    /** A new buffer of at least `size` bytes (whole pages), filled with zeros. */
    Result<DmaBuf> allocate(size_t size) const;

    /**
     * A buffer that *is* part of a memfd; offset and size in whole pages. The memfd stays the
     * caller's and must be sealed against shrinking, and not against writing.
     */
    Result<DmaBuf> wrap(int memfd, uint64_t offset, uint64_t size) const;

private:
    explicit Udmabuf(UniqueFd device) : device_(std::move(device)) {}
    UniqueFd device_;
};

}  // namespace stepscope
