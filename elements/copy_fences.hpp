// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <vector>

#include "base/dmabuf.hpp"
#include "gst/slot_memory.hpp"

namespace stepscope {

/**
 * The fences of one buffer that another compositor copies into. No protocol for that carries any:
 * drivers leave them in the DMA-BUF. Does nothing for shared memory. Of the dispatching thread.
 */
class CopyFences {
public:
    CopyFences() = default;
    /** `cpu_writes`: the compositor is given the same pages as shared memory, and looks for no
     * fence. */
    static Result<CopyFences> create(std::span<const SlotPlane> planes, bool cpu_writes);

    /** The compositor says that it has copied: what readers have to wait for; null for none. */
    GstPtr<GstStepscopeFence> copied();
    /** Consumers let go: what they left is for the compositor to wait for, or for us. */
    void returned();
    /** False while somebody reads and the compositor could not know. */
    bool may_be_written();

private:
    std::vector<DmaBuf> buffers_;
    bool cpu_writes_ = false;
    GstPtr<GstStepscopeFence> fence_;  // of the frame that is out
    std::vector<SyncFile> readers_;
};

}  // namespace stepscope
