// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <list>
#include <memory>

#include "pipewire_session.hpp"
#include "wlr.hpp"

namespace stepscope {

/** Control clients' objects for PipeWire nodes of their own. */
class PipewireRequests {
public:
    struct Hooks {
        /** As PipewireSession's; want() is false also where there is no PipeWire. */
        std::function<bool(const PictureDemand&)> want;
        std::function<void(const PictureDemand&)> release;
        std::function<PipewireNode(const PictureDemand&)> node_for;
    };

    explicit PipewireRequests(Hooks hooks) : hooks_(std::move(hooks)) {}
    PipewireRequests(const PipewireRequests&) = delete;
    PipewireRequests& operator=(const PipewireRequests&) = delete;

    /** Answers create_pipewire_node on `session`, also with a protocol error. */
    void create(wl_resource* session, uint32_t id, PictureDemand demand);
    /** Tells those whose node has come or gone. */
    void handle_changed();

private:
    struct Request {
        PipewireRequests* owner;
        wl_resource* resource;
        PictureDemand demand;
        PipewireNode told;
    };

    static void handle_destroy_request(wl_client* client, wl_resource* resource);
    static void handle_gone(wl_resource* resource);
    void tell(Request& request) const;
    static const struct stepscope_pipewire_node_v1_interface kImplementation;

    Hooks hooks_;
    std::list<std::unique_ptr<Request>> requests_;
};

}  // namespace stepscope
