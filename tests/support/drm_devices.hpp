// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dmabuf.hpp"
#include "base/error.hpp"
#include "base/unique_fd.hpp"

namespace stepscope::testing {

struct RenderNode {
    std::string path;    // "/dev/dri/renderD128"
    std::string driver;  // "vgem", "virtio_gpu", …
};

/** The render nodes that can be opened here, in the order of their numbers. */
std::vector<RenderNode> render_nodes();

/** Paths of all nodes that can be opened here: first render nodes, then primary ones. */
std::vector<std::string> device_nodes();

/** Path of the first primary node ("/dev/dri/card0") of a driver; empty if there is none. */
std::string primary_node(const std::string& driver);

/** Opens the first render node of a driver; Fault::not_found if there is none. */
Result<UniqueFd> open_render_node(const std::string& driver);

/**
 * The vgem device: puts fences on DMA-BUFs that are signalled when the test says so. The kernel
 * signals them itself after 10 seconds, so that nobody waits for ever.
 */
class Vgem {
public:
    static Result<Vgem> open();

    /** A fence that vgem put on a buffer. */
    class Fence {
    public:
        /** Signals it. Fault::system (ETIMEDOUT) if the kernel had to do it before. */
        Result<void> signal() const;

    private:
        friend class Vgem;
        Fence(int device, uint32_t id) : device_(device), id_(id) {}
        int device_;  // the Vgem's, which outlives its fences
        uint32_t id_;
    };

    /** Puts a new fence on the buffer, as if a device accessed it from now on. */
    Result<Fence> attach(const DmaBuf& buffer, BufferAccess access) const;

private:
    explicit Vgem(UniqueFd device) : device_(std::move(device)) {}
    UniqueFd device_;
};

}  // namespace stepscope::testing
