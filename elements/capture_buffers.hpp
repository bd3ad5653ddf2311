// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/udmabuf.hpp"
#include "gst/slot_memory.hpp"
#include "output_capture.hpp"

struct gbm_device;

namespace stepscope {

/** What a buffer for copies is to be. */
struct BufferRequest {
    uint32_t width = 0;
    uint32_t height = 0;
    uint32_t fourcc = 0;  // as the compositor named it, alpha and all
    uint64_t modifier = 0;
    /** What the compositor is given. */
    MemoryKind memory = MemoryKind::memfd;
    uint32_t stride = 0;     // bytes, of shared memory; 0: as the width needs
    bool as_dmabuf = false;  // of shared memory: consumers get a DMA-BUF of the same pages
};

/** Memory that a compositor copies into. */
struct CaptureBuffer {
    WlPtr<wl_buffer> buffer;
    std::vector<SlotPlane> planes;
};

/**
 * Makes memory and the compositor's view of it: sealed memfds; DMA-BUFs by GBM on the device that
 * the compositor named, or linear ones from /dev/udmabuf; or both at once. Of the dispatching
 * thread.
 */
class CaptureBuffers {
public:
    explicit CaptureBuffers(DisplayConnection& display);
    ~CaptureBuffers();
    CaptureBuffers(const CaptureBuffers&) = delete;
    CaptureBuffers& operator=(const CaptureBuffers&) = delete;

    /** The compositor's device, a dev_t; none where it named none. */
    void set_device(std::optional<uint64_t> device);

    /**
     * Whether the compositor can be given DMA-BUFs like that, as far as one can tell without making
     * one. Not where it draws with the CPU: a DMA-BUF then does not tell when drawing has ended.
     */
    bool may_have(uint32_t fourcc, uint64_t modifier) const;
    /** Whether the compositor can be given DMA-BUFs of others, by the same rule. */
    bool takes_dmabuf() const { return display_.dmabuf() != nullptr && !cpu_draws_; }
    /** Path of the device's node; empty if it is not known. */
    const std::string& node() const { return node_; }
    /** Whether shared memory can be handed out as DMA-BUF. */
    bool may_wrap() const { return udmabuf_.has_value(); }

    /** Waits for the compositor's agreement; rejected memory is an error. */
    Result<CaptureBuffer> make(const BufferRequest& request);

    /** The compositor's view of DMA-BUFs that are there already; the same errors. */
    Result<WlPtr<wl_buffer>> import(const BufferRequest& request,
                                    std::span<const SlotPlane> planes);

private:
    struct GbmDeviceDeleter {
        void operator()(gbm_device* device) const;
    };
    /** The node must stay open as long as the device lives. */
    struct Gbm {
        UniqueFd node;
        std::unique_ptr<gbm_device, GbmDeviceDeleter> device;
    };
    using Planes = std::vector<SlotPlane>;

    Result<CaptureBuffer> make_shm(const BufferRequest& request);
    Result<Planes> allocate_gbm(const Gbm& gbm, const BufferRequest& request) const;
    static Result<Planes> allocate_udmabuf(const Udmabuf& device, const BufferRequest& request);

    DisplayConnection& display_;
    std::optional<uint64_t> device_;
    std::string node_;
    std::vector<Gbm> gbm_;  // of the render node, then the primary one
    bool cpu_draws_ = false;
    std::optional<Udmabuf> udmabuf_;
};

}  // namespace stepscope
