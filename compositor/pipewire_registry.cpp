// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_registry.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace stepscope {
namespace {

/** Those of a node or a port that others ask for. */
constexpr std::array<uint32_t, 7> kParameters{
    SPA_PARAM_EnumFormat, SPA_PARAM_Format,  SPA_PARAM_Buffers, SPA_PARAM_Meta,
    SPA_PARAM_Props,      SPA_PARAM_Latency, SPA_PARAM_Tag};

uint32_t number(const char* text) {
    return static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

}  // namespace

const pw_registry_events PipewireRegistry::kEvents{
    .version = PW_VERSION_REGISTRY_EVENTS,
    .global = handle_global,
    .global_remove = handle_global_remove,
};

void PipewireRegistry::connect(pw_core* core) {
    registry_.reset(pw_core_get_registry(core, PW_VERSION_REGISTRY, 0));
    if (registry_) {
        pw_registry_add_listener(registry_.get(), hook_.take(), &kEvents, this);
    }
}

void PipewireRegistry::disconnect() {
    hook_.remove();
    parts_.clear();
    registry_.reset();
    links_.clear();
    remembered_.clear();
}

size_t PipewireRegistry::count_links(uint32_t node) const {
    return static_cast<size_t>(
        std::ranges::count(links_, node, [](const auto& link) { return link.second; }));
}

// The daemon lets nobody bind what it has not told of.
void PipewireRegistry::remember_parameters(uint32_t node) {
    remembered_.insert(node);
    for (auto& [id, part] : parts_) {
        if (part.node == node) {
            subscribe(id, part);
        }
    }
}

void PipewireRegistry::forget(uint32_t node) {
    remembered_.erase(node);
    for (auto& [id, part] : parts_) {
        if (part.node == node) {
            part.proxy.reset();
        }
    }
}

bool PipewireRegistry::asks_by(uint32_t proxy) const {
    return std::ranges::any_of(parts_, [proxy](const auto& entry) {
        const Proxy& known = entry.second.proxy;
        return known && pw_proxy_get_id(known.get()) == proxy;
    });
}

void PipewireRegistry::subscribe(uint32_t id, Part& part) {
    if (part.proxy) {
        return;
    }
    part.proxy.reset(static_cast<pw_proxy*>(
        part.is_port
            ? pw_registry_bind(registry_.get(), id, PW_TYPE_INTERFACE_Port, PW_VERSION_PORT, 0)
            : pw_registry_bind(registry_.get(), id, PW_TYPE_INTERFACE_Node, PW_VERSION_NODE, 0)));
    auto ids = kParameters;
    if (part.proxy && part.is_port) {
        pw_port_subscribe_params(reinterpret_cast<pw_port*>(part.proxy.get()), ids.data(),
                                 ids.size());
    } else if (part.proxy) {
        pw_node_subscribe_params(reinterpret_cast<pw_node*>(part.proxy.get()), ids.data(),
                                 ids.size());
    }
}

void PipewireRegistry::handle_global(void* data, uint32_t id, uint32_t /*permissions*/,
                                     const char* type, uint32_t /*version*/,
                                     const spa_dict* properties) {
    auto* self = static_cast<PipewireRegistry*>(data);
    auto value = [&](const char* key) {
        return properties != nullptr ? spa_dict_lookup(properties, key) : nullptr;
    };
    const std::string_view kind(type);
    const char* from = value(PW_KEY_LINK_OUTPUT_NODE);
    if (kind == PW_TYPE_INTERFACE_Link && from != nullptr) {
        self->links_[id] = number(from);
    }
    const bool is_port = kind == PW_TYPE_INTERFACE_Port;
    const char* owner = value(PW_KEY_NODE_ID);
    if (kind == PW_TYPE_INTERFACE_Node || (is_port && owner != nullptr)) {
        const uint32_t node = is_port ? number(owner) : id;
        auto [part, added] =
            self->parts_.insert_or_assign(id, Part{.node = node, .is_port = is_port, .proxy = {}});
        if (self->remembered_.contains(node)) {
            self->subscribe(id, part->second);
        }
    }
}

void PipewireRegistry::handle_global_remove(void* data, uint32_t id) {
    auto* self = static_cast<PipewireRegistry*>(data);
    self->links_.erase(id);
    self->parts_.erase(id);
}

}  // namespace stepscope
