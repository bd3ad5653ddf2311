// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <array>
#include <cstdint>

#include "base/error.hpp"
#include "wlr.hpp"

namespace stepscope {

/** What a consumer must know to read a buffer. The descriptors are borrowed from the buffer. */
struct FrameMemory {
    enum class Kind { memfd, dmabuf };
    struct Plane {
        int fd = -1;
        uint32_t offset = 0;
        uint32_t stride = 0;
    };

    Kind kind = Kind::memfd;
    uint32_t width = 0;
    uint32_t height = 0;
    /** DRM format without alpha: what a game leaves in the alpha channel of its picture is noise.
     */
    uint32_t fourcc = 0;
    uint64_t modifier = 0;
    unsigned planes = 0;
    std::array<Plane, 4> plane{};
};

/** Whose memory it is: the game's is sealed against shrinking first, ours needs no such care. */
enum class Owner { game, compositor };

/**
 * Describes a buffer, or says why it can't be handed to a consumer: Fault::unsupported for its
 * format or modifier, Fault::permission for memory that its owner could cut short.
 */
Result<FrameMemory> describe_buffer(wlr_buffer* buffer, Owner owner);

/** The format with its alpha channel ignored, or 0 for formats that consumers are not given. */
uint32_t opaque_format(uint32_t fourcc);

/** Bytes of a pixel of an opaque format with one plane; 0 for others. */
uint32_t bytes_per_pixel(uint32_t fourcc);

}  // namespace stepscope
