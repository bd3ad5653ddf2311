// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pipewire/stream.h>

#include <array>
#include <cstdint>

#include "captured_frame.hpp"

namespace stepscope {

/**
 * Pictures by the path that they took to a stream's consumers, in the node's properties:
 * stepscope.passed-through, stepscope.composed and stepscope.copied.
 */
class PipewireCounts {
public:
    void add(FramePath path);
    /** Not for each picture; `last` if none follows for a while. */
    void tell(pw_stream* stream, int64_t now_ns, bool last);

private:
    static constexpr size_t kPaths = 3;

    std::array<uint64_t, kPaths> counts_{};
    int64_t told_ns_ = 0;
};

}  // namespace stepscope
