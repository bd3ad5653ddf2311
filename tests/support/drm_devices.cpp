// SPDX-License-Identifier: LGPL-2.1-or-later
#include "drm_devices.hpp"

#include <drm/vgem_drm.h>
#include <fcntl.h>
#include <xf86drm.h>

#include <algorithm>
#include <filesystem>
#include <format>
#include <memory>

#include "base/restarting_ioctl.hpp"

namespace stepscope::testing {

namespace {

std::vector<RenderNode> nodes_named(const std::string& prefix) {
    std::vector<RenderNode> nodes;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/dri", none)) {
        if (!entry.path().filename().string().starts_with(prefix)) {
            continue;
        }
        UniqueFd fd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
        std::unique_ptr<drmVersion, decltype(&drmFreeVersion)> version(
            fd ? drmGetVersion(fd.get()) : nullptr, drmFreeVersion);
        if (version) {
            nodes.push_back(
                {entry.path(), std::string(version->name, static_cast<size_t>(version->name_len))});
        }
    }
    std::ranges::sort(nodes, {}, &RenderNode::path);
    return nodes;
}

}  // namespace

std::vector<RenderNode> render_nodes() {
    return nodes_named("renderD");
}

std::vector<std::string> device_nodes() {
    std::vector<std::string> paths;
    for (const char* prefix : {"renderD", "card"}) {
        for (RenderNode& node : nodes_named(prefix)) {
            paths.push_back(std::move(node.path));
        }
    }
    return paths;
}

std::string primary_node(const std::string& driver) {
    for (const RenderNode& node : nodes_named("card")) {
        if (node.driver == driver) {
            return node.path;
        }
    }
    return {};
}

Result<UniqueFd> open_render_node(const std::string& driver) {
    for (const RenderNode& node : render_nodes()) {
        if (node.driver == driver) {
            UniqueFd fd(::open(node.path.c_str(), O_RDWR | O_CLOEXEC));
            if (!fd) {
                return fail_errno(std::format("can't open {}", node.path));
            }
            return fd;
        }
    }
    return fail(Fault::not_found, std::format("there is no render node of {}", driver));
}

Result<Vgem> Vgem::open() {
    return open_render_node("vgem").transform([](UniqueFd fd) { return Vgem(std::move(fd)); });
}

Result<Vgem::Fence> Vgem::attach(const DmaBuf& buffer, BufferAccess access) const {
    uint32_t handle = 0;
    if (drmPrimeFDToHandle(device_.get(), buffer.fd(), &handle) != 0) {
        return fail_errno("vgem can't import the DMA-BUF");
    }
    drm_vgem_fence_attach argument{
        .handle = handle,
        .flags = access == BufferAccess::read ? 0U : uint32_t{VGEM_FENCE_WRITE},
        .out_fence = 0,
        .pad = 0};
    const int status = restarting_ioctl(device_.get(), DRM_IOCTL_VGEM_FENCE_ATTACH, &argument);
    const int error = errno;
    // The fence is the buffer's: the import is not needed any more.
    drmCloseBufferHandle(device_.get(), handle);
    if (status < 0) {
        return fail_errno("vgem can't put a fence on the DMA-BUF", error);
    }
    return Fence(device_.get(), argument.out_fence);
}

Result<void> Vgem::Fence::signal() const {
    drm_vgem_fence_signal argument{.fence = id_, .flags = 0};
    if (restarting_ioctl(device_, DRM_IOCTL_VGEM_FENCE_SIGNAL, &argument) < 0) {
        return fail_errno("vgem can't signal the fence");
    }
    return {};
}

}  // namespace stepscope::testing
