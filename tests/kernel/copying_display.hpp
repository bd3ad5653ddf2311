// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/stepscope/stepscope.h>

#include "base/udmabuf.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"
#include "tests/support/fake_display.hpp"
#include "tests/support/source_pipeline.hpp"

namespace stepscope::testing {

/** A compositor that copies into DMA-BUFs when the test says so. A fixture adds the pipeline. */
struct CopyingDisplay {
    Vgem vgem = require_device(Vgem::open());
    Udmabuf udmabuf = require_device(Udmabuf::open());
    test::Environment environment;
    test::FakeDisplay fake;

    /** `dmabuf`: whether it offers linear ones at all. */
    explicit CopyingDisplay(bool dmabuf);

    /** The memory that it is to copy into, once it was asked to. */
    DmaBuf wanted();
    /** Copies a picture, every byte of it `pixel`, and takes the buffer of the pipeline. */
    GstPtr<GstBuffer> copy(test::SourcePipeline& pipeline, int pixel);
};

/** Work of a GPU that the test ends. */
struct PendingWork {
    DmaBuf scratch;
    Vgem::Fence fence;

    explicit PendingWork(CopyingDisplay& display);
    /** As a consumer that gives the buffer back before its work is done. */
    void leave_with(GstBuffer* buffer) const;
};

GstStepscopeFence* fence_of(GstBuffer* buffer);
/** The memory of a buffer, which has to be a DMA-BUF. */
DmaBuf dmabuf_of(GstBuffer* buffer);

}  // namespace stepscope::testing
