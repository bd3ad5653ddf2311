// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "picture.hpp"

struct gbm_device;

namespace stepscope::testgame {

/** A device that GBM allocates linear pictures on, where it wants their rows to be. */
class GbmMemory {
public:
    /** `node`: path of a node; empty: the first in /dev/dri on which a picture can be made. */
    static Result<GbmMemory> open(const std::string& node);

    /** A mapped picture of a DRM format. It does not need this object any more. */
    Result<Picture> allocate(uint32_t format, uint32_t width, uint32_t height) const;

private:
    struct DeviceDeleter {
        void operator()(gbm_device* device) const;
    };
    using Device = std::unique_ptr<gbm_device, DeviceDeleter>;

    static Result<GbmMemory> open_node(const std::string& path);
    GbmMemory(std::string path, UniqueFd node, Device device)
        : path_(std::move(path)), node_(std::move(node)), device_(std::move(device)) {}

    std::string path_;
    UniqueFd node_;  // must stay open as long as the device lives
    Device device_;
};

}  // namespace stepscope::testgame
