// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <unistd.h>

#include <cstddef>
#include <format>
#include <limits>

#include "error.hpp"

namespace stepscope {

/** The size of an allocation in whole pages. Fault::usage for none and for more than an off_t. */
inline Result<size_t> round_up_to_pages(size_t size) {
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    constexpr auto most = static_cast<size_t>(std::numeric_limits<off_t>::max());
    if (size == 0 || size > most - page) {
        return fail(Fault::usage, std::format("can't allocate a buffer of {} bytes", size));
    }
    return (size + page - 1) / page * page;
}

}  // namespace stepscope
