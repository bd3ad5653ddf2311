// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <set>

#include "pipewire_connection.hpp"

namespace stepscope {

/** What the daemon has of ours: who is linked to nodes, and what it knows of them. */
class PipewireRegistry {
public:
    PipewireRegistry() = default;
    PipewireRegistry(const PipewireRegistry&) = delete;
    PipewireRegistry& operator=(const PipewireRegistry&) = delete;

    void connect(pw_core* core);
    /** Before the core goes. */
    void disconnect();
    /** Links that begin at the node. */
    size_t count_links(uint32_t node) const;

    /**
     * Makes the daemon look at a node's parameters as soon as they change, and remember them.
     *
     * When it asks us for buffers, PipeWire (1.6.9 at least) takes the first thing of our node's
     * that has the request's number for our answer: another client's question for a parameter, too,
     * which counts its requests from 0 as well. Consumers then get buffers that have no memory
     * yet. What the daemon remembers it answers without our node.
     */
    void remember_parameters(uint32_t node);
    void forget(uint32_t node);
    /** Whether the proxy is one of those: some parameters are not there yet, which is no error. */
    bool asks_by(uint32_t proxy) const;

private:
    static void handle_global(void* data, uint32_t id, uint32_t permissions, const char* type,
                              uint32_t version, const spa_dict* properties);
    static void handle_global_remove(void* data, uint32_t id);
    static void destroy_registry(pw_registry* registry) {
        pw_proxy_destroy(reinterpret_cast<pw_proxy*>(registry));
    }
    static const pw_registry_events kEvents;

    using Proxy = PwHandle<pw_proxy, pw_proxy_destroy>;
    /** A node, or one of its ports. */
    struct Part {
        uint32_t node;
        bool is_port;
        Proxy proxy;  // null where nobody wants it remembered
    };
    void subscribe(uint32_t id, Part& part);

    PwHandle<pw_registry, destroy_registry> registry_;
    PwHook hook_;
    /** The node that each link begins at. */
    std::map<uint32_t, uint32_t> links_;
    std::map<uint32_t, Part> parts_;
    /** Nodes to be remembered. */
    std::set<uint32_t> remembered_;
};

}  // namespace stepscope
