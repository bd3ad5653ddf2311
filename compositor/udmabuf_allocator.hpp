// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/udmabuf.hpp"
#include "wlr.hpp"

namespace stepscope {

/**
 * Allocates linear pictures as DMA-BUFs of ordinary memory: for renderers that draw with the CPU
 * but know DMA-BUFs only, where there is no GPU to allocate from. Owned by the caller, ended with
 * wlr_allocator_destroy().
 */
wlr_allocator* create_udmabuf_allocator(Udmabuf device);

}  // namespace stepscope
