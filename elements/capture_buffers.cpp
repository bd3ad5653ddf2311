// SPDX-License-Identifier: LGPL-2.1-or-later
#include "capture_buffers.hpp"

#include <drm_fourcc.h>
#include <fcntl.h>
#include <gbm.h>
#include <sys/mman.h>
#include <xf86drm.h>

#include <array>
#include <format>

#include "base/page_size.hpp"

namespace stepscope {
namespace {

/** How long a compositor may take to look at a buffer; one that draws in software may be busy. */
constexpr std::chrono::seconds kImportTimeout{20};
/** Rows of linear DMA-BUFs begin at multiples of this: what all GPUs can write to. */
constexpr uint64_t kRowAlignment = 256;

uint64_t round_up(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

uint32_t shm_format_of_drm(uint32_t format) {
    switch (format) {
        case DRM_FORMAT_ARGB8888:
            return WL_SHM_FORMAT_ARGB8888;
        case DRM_FORMAT_XRGB8888:
            return WL_SHM_FORMAT_XRGB8888;
        default:
            return format;
    }
}

/**
 * One row more than a picture has: a region of it begins within a row, and its last row, counted
 * in whole strides, ends beyond the picture's.
 */
uint64_t file_size(uint64_t stride, uint32_t height) {
    return stride * (uint64_t{height} + 1);
}

/** What became of an import. */
struct Import {
    WlPtr<wl_buffer> buffer;
    bool failed = false;
};

void handle_created(void* data, zwp_linux_buffer_params_v1*, wl_buffer* buffer) {
    static_cast<Import*>(data)->buffer.reset(buffer);
}

void handle_import_failed(void* data, zwp_linux_buffer_params_v1*) {
    static_cast<Import*>(data)->failed = true;
}

constexpr zwp_linux_buffer_params_v1_listener kParamsListener{handle_created, handle_import_failed};

struct BoDeleter {
    void operator()(gbm_bo* bo) const { gbm_bo_destroy(bo); }
};

/** Without a driver for the GPU, or without a GPU, GBM makes nothing of a render node. */
bool can_render(gbm_device* device) {
    constexpr uint32_t kSide = 64;
    return std::unique_ptr<gbm_bo, BoDeleter>(gbm_bo_create(
               device, kSide, kSide, GBM_FORMAT_XRGB8888, GBM_BO_USE_RENDERING)) != nullptr;
}

}  // namespace

void CaptureBuffers::GbmDeviceDeleter::operator()(gbm_device* device) const {
    gbm_device_destroy(device);
}

CaptureBuffers::CaptureBuffers(DisplayConnection& display) : display_(display) {
    if (auto opened = Udmabuf::open()) {
        udmabuf_.emplace(std::move(*opened));
    }
}

CaptureBuffers::~CaptureBuffers() = default;

void CaptureBuffers::set_device(std::optional<uint64_t> number) {
    if (number == device_) {
        return;
    }
    device_ = number;
    gbm_.clear();
    cpu_draws_ = false;
    node_.clear();
    drmDevice* device = nullptr;
    if (!number || drmGetDeviceFromDevId(static_cast<dev_t>(*number), 0, &device) != 0) {
        return;
    }
    for (int type : {DRM_NODE_RENDER, DRM_NODE_PRIMARY}) {
        if ((device->available_nodes & (1 << type)) == 0) {
            continue;
        }
        Gbm gbm;
        gbm.node.reset(::open(device->nodes[type], O_RDWR | O_CLOEXEC));
        if (gbm.node) {
            gbm.device.reset(gbm_create_device(gbm.node.get()));
        }
        if (gbm.device) {
            gbm_.push_back(std::move(gbm));
        }
        if (node_.empty()) {
            node_ = device->nodes[type];
        }
    }
    const bool has_render_node = (device->available_nodes & (1 << DRM_NODE_RENDER)) != 0;
    cpu_draws_ = !has_render_node || gbm_.empty() || !can_render(gbm_.front().device.get());
    drmFreeDevice(&device);
}

bool CaptureBuffers::may_have(uint32_t fourcc, uint64_t modifier) const {
    if (!takes_dmabuf() || modifier == DRM_FORMAT_MOD_INVALID) {
        return false;
    }
    if (modifier == DRM_FORMAT_MOD_LINEAR) {
        return udmabuf_ || !gbm_.empty();
    }
    return !gbm_.empty() && gbm_device_get_format_modifier_plane_count(gbm_.front().device.get(),
                                                                       fourcc, modifier) > 0;
}

Result<CaptureBuffer> CaptureBuffers::make(const BufferRequest& request) {
    if (request.memory == MemoryKind::memfd) {
        return make_shm(request);
    }
    Result<CaptureBuffer> made = fail(Fault::unsupported, "there is nothing to make DMA-BUFs with");
    auto attempt = [&](Result<Planes> planes) {
        if (!planes) {
            made = std::unexpected(planes.error());
            return false;
        }
        auto imported = import(request, *planes);
        if (!imported) {
            made = std::unexpected(imported.error());
            return false;
        }
        made = CaptureBuffer{std::move(*imported), std::move(*planes)};
        return true;
    };
    for (const Gbm& gbm : gbm_) {
        if (attempt(allocate_gbm(gbm, request))) {
            return made;
        }
    }
    if (udmabuf_ && request.modifier == DRM_FORMAT_MOD_LINEAR) {
        attempt(allocate_udmabuf(*udmabuf_, request));
    }
    return made;
}

Result<CaptureBuffer> CaptureBuffers::make_shm(const BufferRequest& request) {
    const uint64_t row = uint64_t{request.width} * bytes_per_pixel(opaque_fourcc(request.fourcc));
    const uint64_t stride = request.stride != 0 ? request.stride : row;
    auto rounded = round_up_to_pages(file_size(stride, request.height));
    if (!rounded) {
        return std::unexpected(rounded.error());
    }
    const size_t size = *rounded;
    if (display_.shm() == nullptr || stride < row || size > INT32_MAX) {
        return fail(Fault::protocol,
                    std::format("the compositor of {} asked for shared memory of {} rows of {} "
                                "bytes, which can't be",
                                display_.connection().peer(), request.height, stride));
    }
    UniqueFd fd(::memfd_create("stepscope-capture", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) < 0 ||
        ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return fail_errno(std::format("can't allocate {} bytes for a picture", size));
    }
    WlPtr<wl_shm_pool> pool(
        wl_shm_create_pool(display_.shm(), fd.get(), static_cast<int32_t>(size)));
    CaptureBuffer made;
    made.buffer.reset(wl_shm_pool_create_buffer(
        pool.get(), 0, static_cast<int32_t>(request.width), static_cast<int32_t>(request.height),
        static_cast<int32_t>(stride), shm_format_of_drm(request.fourcc)));
    if (request.as_dmabuf) {
        if (!udmabuf_) {
            return fail(Fault::unsupported, "there is no /dev/udmabuf");
        }
        auto wrapped = udmabuf_->wrap(fd.get(), 0, size);
        if (!wrapped) {
            return std::unexpected(wrapped.error());
        }
        fd = std::move(*wrapped).take();
    }
    made.planes.push_back({std::move(fd), 0, static_cast<uint32_t>(stride)});
    return made;
}

Result<CaptureBuffers::Planes> CaptureBuffers::allocate_gbm(const Gbm& gbm,
                                                            const BufferRequest& request) const {
    // One row more, as file_size() says.
    std::unique_ptr<gbm_bo, BoDeleter> bo(
        gbm_bo_create_with_modifiers2(gbm.device.get(), request.width, request.height + 1,
                                      request.fourcc, &request.modifier, 1, GBM_BO_USE_RENDERING));
    if (!bo && request.modifier == DRM_FORMAT_MOD_LINEAR) {
        // Drivers without modifiers.
        bo.reset(gbm_bo_create(gbm.device.get(), request.width, request.height + 1, request.fourcc,
                               GBM_BO_USE_RENDERING | GBM_BO_USE_LINEAR));
    }
    if (!bo) {
        return fail_errno("GBM can't allocate a picture");
    }
    Planes planes;
    for (int index = 0; index < gbm_bo_get_plane_count(bo.get()); ++index) {
        UniqueFd fd(gbm_bo_get_fd_for_plane(bo.get(), index));
        if (!fd) {
            return fail_errno("GBM can't export a picture");
        }
        planes.push_back({std::move(fd), gbm_bo_get_offset(bo.get(), index),
                          gbm_bo_get_stride_for_plane(bo.get(), index)});
    }
    return planes;
}

Result<CaptureBuffers::Planes> CaptureBuffers::allocate_udmabuf(const Udmabuf& device,
                                                                const BufferRequest& request) {
    const uint64_t stride = round_up(
        uint64_t{request.width} * bytes_per_pixel(opaque_fourcc(request.fourcc)), kRowAlignment);
    auto allocated = device.allocate(file_size(stride, request.height));
    if (!allocated) {
        return std::unexpected(allocated.error());
    }
    Planes planes;
    planes.push_back({std::move(*allocated).take(), 0, static_cast<uint32_t>(stride)});
    return planes;
}

Result<WlPtr<wl_buffer>> CaptureBuffers::import(const BufferRequest& request,
                                                std::span<const SlotPlane> planes) {
    WlPtr<zwp_linux_buffer_params_v1> params(zwp_linux_dmabuf_v1_create_params(display_.dmabuf()));
    Import imported;
    zwp_linux_buffer_params_v1_add_listener(params.get(), &kParamsListener, &imported);
    uint32_t index = 0;
    for (const SlotPlane& plane : planes) {
        zwp_linux_buffer_params_v1_add(params.get(), plane.fd.get(), index++, plane.offset,
                                       plane.stride, static_cast<uint32_t>(request.modifier >> 32),
                                       static_cast<uint32_t>(request.modifier));
    }
    zwp_linux_buffer_params_v1_create(params.get(), static_cast<int32_t>(request.width),
                                      static_cast<int32_t>(request.height), request.fourcc, 0);
    if (auto answered = display_.connection().roundtrip(kImportTimeout); !answered) {
        return std::unexpected(answered.error());
    }
    if (imported.failed || !imported.buffer) {
        return fail(Fault::unsupported,
                    std::format("the compositor of {} does not take these DMA-BUFs",
                                display_.connection().peer()));
    }
    return std::move(imported.buffer);
}

}  // namespace stepscope
