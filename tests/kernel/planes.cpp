// SPDX-License-Identifier: LGPL-2.1-or-later
// Pictures that are not eight bits of RGB: of two planes, in one DMA-BUF and in two, of ten bits
// and of floating point. They reach a pipeline as they are.
#include <gst/allocators/gstdmabuf.h>
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>
#include <sys/mman.h>

#include <set>

#include "base/dmabuf.hpp"
#include "capture_session.hpp"
#include "requirement.hpp"
#include "tests/game/nv12_frame.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

/** How a game's pictures lie in memory. */
struct Layout {
    std::string name;    // as the game takes it
    std::string format;  // as caps have it
    unsigned planes;
    unsigned files;
    size_t row;     // bytes that a row of each plane takes
    size_t stride;  // the game begins each at a multiple of 256
};

/** One of the memories of a buffer, mapped by itself. */
struct MappedFile {
    DmaBuf memory;
    DmaBufMapping mapping;

    explicit MappedFile(GstMemory* of)
        : memory(must(DmaBuf::adopt(UniqueFd::duplicate(gst_dmabuf_memory_get_fd(of))))),
          mapping(must(memory.map(BufferAccess::read))) {
        must(memory.begin_cpu_access(BufferAccess::read));  // waits for its fences
    }
    ~MappedFile() { static_cast<void>(memory.end_cpu_access(BufferAccess::read)); }
};

/** What lies where the buffer's GstVideoMeta says: each plane in its memory, at its offset. */
std::optional<uint32_t> check(GstBuffer* buffer, const Layout& layout) {
    const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer);
    REQUIRE(meta != nullptr);
    REQUIRE(meta->n_planes == layout.planes);
    std::array<nv12_frame::ConstPlane, 2> planes;
    std::vector<std::unique_ptr<MappedFile>> files;
    for (unsigned plane = 0; plane < layout.planes; ++plane) {
        guint index = 0;
        guint length = 0;
        gsize skip = 0;
        REQUIRE(gst_buffer_find_memory(buffer, meta->offset[plane], 1, &index, &length, &skip));
        CHECK(static_cast<size_t>(meta->stride[plane]) == layout.stride);
        files.push_back(std::make_unique<MappedFile>(gst_buffer_peek_memory(buffer, index)));
        const auto bytes = files.back()->mapping.bytes();
        const size_t rows = kHeight / (plane + 1);
        REQUIRE(skip + layout.stride * (rows - 1) + layout.row <= bytes.size());
        planes[plane] = {reinterpret_cast<const uint8_t*>(bytes.data()) + skip, layout.row, rows,
                         layout.stride};
    }
    return nv12_frame::check(planes[0], planes[1]);
}

std::set<ino_t> last_inodes(const CaptureSession& session) {
    std::set<ino_t> inodes;
    for (const auto& line : session.report()) {
        if (line.at("event") == "buffers") {
            inodes.insert_range(line.at("last_inodes").get<std::set<ino_t>>());
        }
    }
    return inodes;
}

void check_layout(const Layout& layout) {
    const unsigned files = layout.files;
    const CaptureSession session(
        {"--layout", layout.name, "--buffers", "6", "--rate", "20", "--late", "20"});
    const std::set<ino_t> luma = session.inodes();
    const std::set<ino_t> chroma = last_inodes(session);
    CHECK((luma == chroma) == (files == 1));
    CapturePipeline pipeline(session.name(), kDmabuf, false);
    uint32_t last = 0;
    for (int frame = 0; frame < 30; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        REQUIRE(gst_buffer_n_memory(buffer.get()) == files);
        for (unsigned index = 0; index < files; ++index) {
            GstMemory* memory = gst_buffer_peek_memory(buffer.get(), index);
            REQUIRE(gst_is_dmabuf_memory(memory));
            const MappedFile file(memory);
            REQUIRE((index == 0 ? luma : chroma).contains(file.memory.inode()));
        }
        const uint32_t number = check(buffer.get(), layout).value_or(0);
        REQUIRE(number > last);  // they begin with 1
        last = number;
    }
    const GstPtr<GstCaps> caps = pipeline.caps();
    const GstStructure* structure = gst_caps_get_structure(caps.get(), 0);
    CHECK(gst_video_is_dma_drm_caps(caps.get()));
    CHECK(std::string(gst_structure_get_string(structure, "drm-format")) == layout.format);
    CHECK(pipeline.stat("passed-through") == pipeline.stat("frames"));
    CHECK(pipeline.stat("imports") <= luma.size() * files);
    CHECK(pipeline.stat("fences-waited") == 0);
}

}  // namespace

TEST_CASE("two planes in one DMA-BUF") {
    check_layout({"nv12", "NV12", 2, 1, kWidth, 512});
}

TEST_CASE("two planes in a DMA-BUF each") {
    check_layout({"nv12-two-files", "NV12", 2, 2, kWidth, 512});
}

TEST_CASE("two planes of ten bits") {
    check_layout({"p010", "P010", 2, 1, size_t{kWidth} * 2, 768});
}

TEST_CASE("ten bits a channel") {
    check_layout({"10-bit", "XR30", 1, 1, size_t{kWidth} * 4, 1280});
}

TEST_CASE("half floats") {
    check_layout({"half-float", "XB4H", 1, 1, size_t{kWidth} * 8, 2560});
}
