// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <variant>

#include "base/dma_heap.hpp"
#include "base/udmabuf.hpp"
#include "gbm_memory.hpp"
#include "picture.hpp"

namespace stepscope::testgame {

/** Where pictures of the fence game come from. */
enum class MemorySource { udmabuf, dma_heap, gbm };

/** Bytes of a row's pixels; the same for luma and chroma. */
size_t row_bytes(PictureLayout layout, int width);

/** Allocates what pictures need. */
class PictureMemory {
public:
    /** `gbm_device`: as GbmMemory::open() takes it; of no meaning to other sources. */
    static Result<PictureMemory> open(MemorySource source, const std::string& gbm_device);

    /** `format`: the DRM format that the layout is to be of, for who has to know it. */
    Result<Picture> allocate(PictureLayout layout, int width, int height, uint32_t format) const;

private:
    using Memory = std::variant<Udmabuf, DmaHeap, GbmMemory>;
    explicit PictureMemory(Memory memory) : memory_(std::move(memory)) {}
    Memory memory_;
};

}  // namespace stepscope::testgame
