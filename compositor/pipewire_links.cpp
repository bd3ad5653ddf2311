// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_links.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace stepscope {

const pw_registry_events PipewireLinks::kEvents{
    .version = PW_VERSION_REGISTRY_EVENTS,
    .global = handle_global,
    .global_remove = handle_global_remove,
};

void PipewireLinks::connect(pw_core* core) {
    registry_.reset(pw_core_get_registry(core, PW_VERSION_REGISTRY, 0));
    if (registry_) {
        pw_registry_add_listener(registry_.get(), hook_.take(), &kEvents, this);
    }
}

void PipewireLinks::disconnect() {
    hook_.remove();
    registry_.reset();
    links_.clear();
}

size_t PipewireLinks::count(uint32_t node) const {
    return static_cast<size_t>(
        std::ranges::count(links_, node, [](const auto& link) { return link.second; }));
}

void PipewireLinks::handle_global(void* data, uint32_t id, uint32_t /*permissions*/,
                                  const char* type, uint32_t /*version*/,
                                  const spa_dict* properties) {
    auto* self = static_cast<PipewireLinks*>(data);
    const char* from =
        properties != nullptr ? spa_dict_lookup(properties, PW_KEY_LINK_OUTPUT_NODE) : nullptr;
    if (from != nullptr && std::string_view(type) == PW_TYPE_INTERFACE_Link) {
        self->links_[id] = static_cast<uint32_t>(std::strtoul(from, nullptr, 10));
    }
}

void PipewireLinks::handle_global_remove(void* data, uint32_t id) {
    static_cast<PipewireLinks*>(data)->links_.erase(id);
}

}  // namespace stepscope
