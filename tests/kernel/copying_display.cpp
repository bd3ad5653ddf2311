// SPDX-License-Identifier: LGPL-2.1-or-later
#include "copying_display.hpp"

#include <drm_fourcc.h>
#include <gst/allocators/gstdmabuf.h>

namespace stepscope::testing {

CopyingDisplay::CopyingDisplay(bool dmabuf) : fake({.ext = 1, .wlr = 0, .dmabuf = dmabuf}) {
    if (dmabuf) {
        fake.dmabuf_formats = {{DRM_FORMAT_XRGB8888, DRM_FORMAT_MOD_LINEAR}};
    }
}

DmaBuf CopyingDisplay::wanted() {
    REQUIRE(fake.wait_until([&] { return fake.copy_wanted(); }));
    UniqueFd fd;
    fake.run([&] { fd = UniqueFd::duplicate(fake.wanted_dmabuf()); });
    return must(DmaBuf::adopt(std::move(fd)));
}

GstPtr<GstBuffer> CopyingDisplay::copy(test::SourcePipeline& pipeline, int pixel) {
    REQUIRE(fake.wait_until([&] { return fake.copy({.pixel = pixel}); }));
    GstPtr<GstBuffer> buffer = pipeline.pull();
    REQUIRE(buffer);
    return buffer;
}

PendingWork::PendingWork(CopyingDisplay& display)
    : scratch(must(display.udmabuf.allocate(4096))),
      fence(must(display.vgem.attach(scratch, BufferAccess::write))) {}

void PendingWork::leave_with(GstBuffer* buffer) const {
    SyncFile file = must(scratch.export_sync_file(BufferAccess::read));
    CHECK_FALSE(must(file.wait(std::chrono::nanoseconds(0))));
    const int fd = std::move(file).take().take();
    REQUIRE(gst_stepscope_fence_add_release_fd(fence_of(buffer), fd, nullptr));
}

GstStepscopeFence* fence_of(GstBuffer* buffer) {
    const GstStepscopeFenceMeta* meta = gst_buffer_get_stepscope_fence_meta(buffer);
    REQUIRE(meta != nullptr);
    return meta->fence;
}

DmaBuf dmabuf_of(GstBuffer* buffer) {
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    REQUIRE(gst_is_dmabuf_memory(memory));
    return must(DmaBuf::adopt(UniqueFd::duplicate(gst_dmabuf_memory_get_fd(memory))));
}

}  // namespace stepscope::testing
