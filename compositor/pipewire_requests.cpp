// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_requests.hpp"

#include <numeric>

#include "stepscope-control-v1-server-protocol.h"

namespace stepscope {

const struct stepscope_pipewire_node_v1_interface PipewireRequests::kImplementation{
    .destroy = handle_destroy_request,
};

void PipewireRequests::create(wl_resource* session, uint32_t id, PictureDemand demand) {
    wl_client* client = wl_resource_get_client(session);
    if (demand.width < kMinOutputSide || demand.width > kMaxOutputSide ||
        demand.height < kMinOutputSide || demand.height > kMaxOutputSide) {
        wl_resource_post_error(session, STEPSCOPE_SESSION_V1_ERROR_INVALID_SIZE,
                               "pictures of %ux%u; sides must be within %u to %u", demand.width,
                               demand.height, kMinOutputSide, kMaxOutputSide);
        return;
    }
    if (!valid_refresh_rate(demand.limit)) {
        wl_resource_post_error(session, STEPSCOPE_SESSION_V1_ERROR_INVALID_REFRESH,
                               "pictures at %u/%u Hz; expected at most %u Hz",
                               demand.limit.numerator, demand.limit.denominator, kMaxRefreshHertz);
        return;
    }
    // So that equal demands are equal.
    const uint32_t divisor = std::gcd(demand.limit.numerator, demand.limit.denominator);
    demand.limit = {demand.limit.numerator / divisor, demand.limit.denominator / divisor};
    wl_resource* resource = wl_resource_create(client, &stepscope_pipewire_node_v1_interface,
                                               wl_resource_get_version(session), id);
    if (resource == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    if (!hooks_.want(demand)) {
        wl_resource_destroy(resource);
        wl_resource_post_error(session, STEPSCOPE_SESSION_V1_ERROR_NO_NODE,
                               "no PipeWire node for %s: a session has at most %zu of them, and "
                               "none in a build without PipeWire",
                               to_string(demand).c_str(), kMaxDemandedNodes);
        return;
    }
    auto& request = requests_.emplace_back(std::make_unique<Request>(
        Request{.owner = this, .resource = resource, .demand = demand, .told = {}}));
    wl_resource_set_implementation(resource, &kImplementation, request.get(), handle_gone);
    tell(*request);
}

void PipewireRequests::handle_destroy_request(wl_client* /*client*/, wl_resource* resource) {
    wl_resource_destroy(resource);
}

void PipewireRequests::handle_gone(wl_resource* resource) {
    auto* request = static_cast<Request*>(wl_resource_get_user_data(resource));
    PipewireRequests* self = request->owner;
    self->hooks_.release(request->demand);
    self->requests_.remove_if([request](const auto& other) { return other.get() == request; });
}

void PipewireRequests::handle_changed() {
    for (auto& request : requests_) {
        if (hooks_.node_for(request->demand) != request->told) {
            tell(*request);
        }
    }
}

void PipewireRequests::tell(Request& request) const {
    request.told = hooks_.node_for(request.demand);
    stepscope_pipewire_node_v1_send_node(request.resource, request.told.name.c_str(),
                                         static_cast<uint32_t>(request.told.serial >> 32),
                                         static_cast<uint32_t>(request.told.serial));
}

}  // namespace stepscope
