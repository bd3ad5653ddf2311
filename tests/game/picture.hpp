// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <vector>

#include "base/dmabuf.hpp"

namespace stepscope::testgame {

/** How pictures lie in memory; all are linear. */
enum class PictureLayout {
    packed,          // four bytes a pixel
    nv12,            // luma, and chroma behind it
    nv12_two_files,  // luma, and chroma in a DMA-BUF of its own
    p010,            // as nv12, with two bytes a sample
    ten_bit,         // XRGB2101010
    half_float       // XBGR16161616F
};

/** Memory of a picture, and where the game draws. */
struct PictureFile {
    DmaBuf memory;
    DmaBufMapping mapping;
};

/** Where the rows of a plane are. */
struct PicturePlane {
    size_t file;    // index
    size_t offset;  // of the first row in the file, bytes
    size_t stride;  // bytes
};

struct Picture {
    std::vector<PictureFile> files;
    std::vector<PicturePlane> planes;  // one, or luma and chroma
};

}  // namespace stepscope::testgame
