// SPDX-License-Identifier: LGPL-2.1-or-later
#include "picture_memory.hpp"

#include <format>
#include <utility>

namespace stepscope::testgame {
namespace {

constexpr size_t kStrideAlignment = 256;

/** Nothing that could be guessed lies between luma and chroma. */
constexpr size_t kGap = 4096;

/** Where the game has planes by its own choice, in memory that is bytes only. */
struct Places {
    std::vector<size_t> file_sizes;
    std::vector<PicturePlane> planes;
};

Places choose_places(PictureLayout layout, int width, int height) {
    const size_t row = row_bytes(layout, width);
    const size_t stride = (row + kStrideAlignment - 1) / kStrideAlignment * kStrideAlignment;
    const size_t first = stride * static_cast<size_t>(height);
    switch (layout) {
        case PictureLayout::packed:
        case PictureLayout::ten_bit:
        case PictureLayout::half_float:
            break;
        case PictureLayout::nv12:
        case PictureLayout::p010:
            return {{first + kGap + first / 2}, {{0, 0, stride}, {0, first + kGap, stride}}};
        case PictureLayout::nv12_two_files:
            return {{first, first / 2}, {{0, 0, stride}, {1, 0, stride}}};
    }
    return {{first}, {{0, 0, stride}}};
}

template <typename Source>
Result<Picture> allocate_bytes(const Source& source, const Places& places) {
    Picture picture;
    for (size_t size : places.file_sizes) {
        auto memory = source.allocate(size);
        if (!memory) {
            return std::unexpected(memory.error());
        }
        auto mapping = memory->map(BufferAccess::read_write);
        if (!mapping) {
            return std::unexpected(mapping.error());
        }
        picture.files.push_back({std::move(*memory), std::move(*mapping)});
    }
    picture.planes = places.planes;
    return picture;
}

}  // namespace

size_t row_bytes(PictureLayout layout, int width) {
    size_t pixel = 4;
    switch (layout) {
        case PictureLayout::packed:
        case PictureLayout::ten_bit:
            break;
        case PictureLayout::nv12:
        case PictureLayout::nv12_two_files:
            pixel = 1;
            break;
        case PictureLayout::p010:
            pixel = 2;
            break;
        case PictureLayout::half_float:
            pixel = 8;
            break;
    }
    return static_cast<size_t>(width) * pixel;
}

Result<PictureMemory> PictureMemory::open(MemorySource source, const std::string& gbm_device) {
    auto own = [](auto&& memory) { return PictureMemory(std::forward<decltype(memory)>(memory)); };
    switch (source) {
        case MemorySource::udmabuf:
            break;
        case MemorySource::dma_heap:
            return DmaHeap::open("system").transform(own);
        case MemorySource::gbm:
            return GbmMemory::open(gbm_device).transform(own);
    }
    return Udmabuf::open().transform(own);
}

Result<Picture> PictureMemory::allocate(PictureLayout layout, int width, int height,
                                        uint32_t format) const {
    const Places places = choose_places(layout, width, height);
    const auto* gbm = std::get_if<GbmMemory>(&memory_);
    if (gbm == nullptr) {
        if (const auto* heap = std::get_if<DmaHeap>(&memory_)) {
            return allocate_bytes(*heap, places);
        }
        return allocate_bytes(std::get<Udmabuf>(memory_), places);
    }
    auto picture =
        gbm->allocate(format, static_cast<uint32_t>(width), static_cast<uint32_t>(height));
    if (picture && (picture->files.size() != places.file_sizes.size() ||
                    picture->planes.size() != places.planes.size())) {
        return fail(Fault::unsupported,
                    std::format("GBM puts the picture's {} planes into {} files, which is not the "
                                "layout that was asked for; udmabuf and dma-heap have them all",
                                picture->planes.size(), picture->files.size()));
    }
    return picture;
}

}  // namespace stepscope::testgame
