// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dmabuf_feedback.hpp"

#include <drm_fourcc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/unique_fd.hpp"
#include "linux-dmabuf-v1-client-protocol.h"

namespace stepscope::testgame {
namespace {

/** An entry of the table, as the protocol has it. */
struct TableEntry {
    uint32_t format;
    uint32_t padding;
    uint64_t modifier;
};
static_assert(sizeof(TableEntry) == 16);

dev_t device_in(const wl_array* array) {
    dev_t device = 0;
    std::memcpy(&device, array->data, std::min(array->size, sizeof(device)));
    return device;
}

DmabufFeedback& self_of(void* data) {
    return *static_cast<DmabufFeedback*>(data);
}

}  // namespace

DmabufFeedback::DmabufFeedback(zwp_linux_dmabuf_v1* dmabuf, wl_surface* surface) {
    using Proxy = zwp_linux_dmabuf_feedback_v1;
    static const zwp_linux_dmabuf_feedback_v1_listener listener{
        .done = [](void* data, Proxy*) { self_of(data).handle_done(); },
        .format_table = [](void* data, Proxy*, int32_t fd,
                           uint32_t size) { self_of(data).handle_table(fd, size); },
        .main_device = [](void* data, Proxy*,
                          wl_array* device) { self_of(data).main_device_ = device_in(device); },
        .tranche_done =
            [](void* data, Proxy*) {
                auto& self = self_of(data);
                self.coming_.push_back(std::exchange(self.coming_tranche_, {}));
            },
        .tranche_target_device =
            [](void* data, Proxy*, wl_array* device) {
                self_of(data).coming_tranche_.device = device_in(device);
            },
        .tranche_formats = [](void* data, Proxy*,
                              wl_array* indices) { self_of(data).handle_formats(indices); },
        .tranche_flags =
            [](void* data, Proxy*, uint32_t flags) {
                self_of(data).coming_tranche_.scanout =
                    (flags & ZWP_LINUX_DMABUF_FEEDBACK_V1_TRANCHE_FLAGS_SCANOUT) != 0;
            },
    };
    // The proxy lives as long as the process.
    Proxy* proxy = zwp_linux_dmabuf_v1_get_surface_feedback(dmabuf, surface);
    zwp_linux_dmabuf_feedback_v1_add_listener(proxy, &listener, this);
}

void DmabufFeedback::handle_table(int fd, uint32_t size) {
    const UniqueFd owned(fd);
    table_.clear();
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, owned.get(), 0);
    if (data == MAP_FAILED) {
        return;
    }
    for (const TableEntry& entry :
         std::span(static_cast<const TableEntry*>(data), size / sizeof(TableEntry))) {
        table_.push_back({entry.format, entry.modifier});
    }
    ::munmap(data, size);
}

void DmabufFeedback::handle_formats(const wl_array* indices) {
    for (uint16_t index :
         std::span(static_cast<const uint16_t*>(indices->data), indices->size / sizeof(uint16_t))) {
        if (index < table_.size()) {
            coming_tranche_.formats.push_back(table_[index]);
        }
    }
}

void DmabufFeedback::handle_done() {
    tranches_ = std::exchange(coming_, {});
    changed_ = true;
}

std::optional<uint32_t> DmabufFeedback::preferred(const std::vector<uint32_t>& drawable) const {
    for (const FeedbackTranche& tranche : tranches_) {
        for (const FeedbackFormat& format : tranche.formats) {
            if (format.modifier == DRM_FORMAT_MOD_LINEAR &&
                std::ranges::contains(drawable, format.fourcc)) {
                return format.fourcc;
            }
        }
    }
    return std::nullopt;
}

}  // namespace stepscope::testgame
