// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "wlr.hpp"

namespace stepscope {

/**
 * Allocates pictures of shared memory that consumers can map without fear: sealed against shrinking
 * and growing, which wlroots' own shm allocator does not do. For renderers that draw with the CPU.
 * Owned by the caller, ended with wlr_allocator_destroy(); null when out of memory.
 */
wlr_allocator* create_memfd_allocator();

}  // namespace stepscope
