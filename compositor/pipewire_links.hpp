// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>

#include "pipewire_connection.hpp"

namespace stepscope {

/** Counts who is linked to nodes of ours. */
class PipewireLinks {
public:
    PipewireLinks() = default;
    PipewireLinks(const PipewireLinks&) = delete;
    PipewireLinks& operator=(const PipewireLinks&) = delete;

    void connect(pw_core* core);
    /** Before the core goes. */
    void disconnect();
    /** Links that begin at the node. */
    size_t count(uint32_t node) const;

private:
    static void handle_global(void* data, uint32_t id, uint32_t permissions, const char* type,
                              uint32_t version, const spa_dict* properties);
    static void handle_global_remove(void* data, uint32_t id);
    static void destroy_registry(pw_registry* registry) {
        pw_proxy_destroy(reinterpret_cast<pw_proxy*>(registry));
    }
    static const pw_registry_events kEvents;

    PwHandle<pw_registry, destroy_registry> registry_;
    PwHook hook_;
    /** The node that each link begins at. */
    std::map<uint32_t, uint32_t> links_;
};

}  // namespace stepscope
