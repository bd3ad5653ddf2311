// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gbm_memory.hpp"

#include <fcntl.h>
#include <gbm.h>
#include <xf86drm.h>

#include <algorithm>
#include <format>

#include "tests/support/drm_devices.hpp"

namespace stepscope::testgame {
namespace {

struct BoDeleter {
    void operator()(gbm_bo* bo) const { gbm_bo_destroy(bo); }
};

/** Index of the picture's file that is this memory; planes may share one. */
Result<size_t> add_file(Picture& picture, UniqueFd fd) {
    auto memory = DmaBuf::adopt(std::move(fd));
    if (!memory) {
        return std::unexpected(memory.error());
    }
    const auto known = std::ranges::find(picture.files, memory->inode(),
                                         [](const auto& file) { return file.memory.inode(); });
    const auto index = static_cast<size_t>(known - picture.files.begin());
    if (known == picture.files.end()) {
        auto mapping = memory->map(BufferAccess::read_write);
        if (!mapping) {
            return std::unexpected(mapping.error());
        }
        picture.files.push_back({std::move(*memory), std::move(*mapping)});
    }
    return index;
}

}  // namespace

void GbmMemory::DeviceDeleter::operator()(gbm_device* device) const {
    gbm_device_destroy(device);
}

Result<GbmMemory> GbmMemory::open_node(const std::string& path) {
    UniqueFd node(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!node) {
        return fail_errno(std::format("can't open {}", path));
    }
    // Who opens a primary node first is the display's master, which is not for a game to be. It
    // fails for all others, as it should.
    drmDropMaster(node.get());
    Device device(gbm_create_device(node.get()));
    if (!device) {
        return fail(Fault::unsupported, std::format("GBM has no driver for {}", path));
    }
    return GbmMemory(path, std::move(node), std::move(device));
}

Result<GbmMemory> GbmMemory::open(const std::string& node) {
    if (!node.empty()) {
        return open_node(node);
    }
    constexpr uint32_t kSide = 64;
    for (const std::string& path : testing::device_nodes()) {
        auto memory = open_node(path);
        if (memory && memory->allocate(GBM_FORMAT_XRGB8888, kSide, kSide)) {
            return memory;
        }
    }
    return fail(Fault::unsupported,
                "on no node in /dev/dri can GBM make a linear picture that can be mapped; "
                "--gbm-device tells why one can't");
}

Result<Picture> GbmMemory::allocate(uint32_t format, uint32_t width, uint32_t height) const {
    const std::unique_ptr<gbm_bo, BoDeleter> bo(
        gbm_bo_create(device_.get(), width, height, format, GBM_BO_USE_LINEAR));
    if (!bo) {
        const int error = errno;
        gbm_format_name_desc name;
        return fail_errno(std::format("GBM can't make a linear picture of {} x {} in {} on {}",
                                      width, height, gbm_format_get_name(format, &name), path_),
                          error);
    }
    Picture picture;
    for (int index = 0; index < gbm_bo_get_plane_count(bo.get()); ++index) {
        UniqueFd fd(gbm_bo_get_fd_for_plane(bo.get(), index));
        if (!fd) {
            return fail_errno(std::format("GBM can't export a picture of {}", path_));
        }
        auto file = add_file(picture, std::move(fd));
        if (!file) {
            return std::unexpected(file.error());
        }
        picture.planes.push_back({*file, gbm_bo_get_offset(bo.get(), index),
                                  gbm_bo_get_stride_for_plane(bo.get(), index)});
    }
    return picture;
}

}  // namespace stepscope::testgame
