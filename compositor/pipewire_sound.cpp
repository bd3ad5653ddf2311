// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_sound.hpp"

#include <cerrno>
#include <cstring>

#include "log.hpp"

namespace stepscope {

const pw_proxy_events PipewireSound::kEvents{
    .version = PW_VERSION_PROXY_EVENTS,
    .destroy = nullptr,
    .bound = nullptr,
    .removed = nullptr,
    .done = nullptr,
    .error = handle_error,
    .bound_props = handle_bound,
};

PipewireSound::PipewireSound(std::string node, std::string session, std::string description,
                             std::function<void()> changed)
    : node_(std::move(node)),
      session_(std::move(session)),
      description_(std::move(description)),
      changed_(std::move(changed)) {}

void PipewireSound::connect(pw_core* core) {
    const spa_dict_item items[] = {
        {SPA_KEY_FACTORY_NAME, "support.null-audio-sink"},
        {PW_KEY_NODE_NAME, node_.c_str()},
        {PW_KEY_NODE_DESCRIPTION, description_.c_str()},
        {PW_KEY_MEDIA_CLASS, "Audio/Sink"},
        {"audio.position", "FL,FR"},
        {PW_KEY_NODE_VIRTUAL, "true"},
        // A session manager should make it nobody's default.
        {PW_KEY_PRIORITY_SESSION, "1"},
        // Monitors are for listening to; they hear what is played, at full volume.
        {"monitor.channel-volumes", "false"},
        {"monitor.passthrough", "true"},
        // The ports that a session manager makes, where there is none.
        {"adapter.auto-port-config", "{ mode = dsp monitor = true position = preserve }"},
        // Sound and picture should be close: about 11 ms a cycle.
        {PW_KEY_NODE_LATENCY, "512/48000"},
        {PW_KEY_OBJECT_LINGER, "false"},
        {"stepscope.session", session_.c_str()},
    };
    const spa_dict dict = SPA_DICT_INIT_ARRAY(items);
    proxy_.reset(static_cast<pw_proxy*>(
        pw_core_create_object(core, "adapter", PW_TYPE_INTERFACE_Node, PW_VERSION_NODE, &dict, 0)));
    if (!proxy_) {
        log("PipeWire: no sound sink: {}", std::strerror(errno));
        return;
    }
    pw_proxy_add_listener(proxy_.get(), hook_.take(), &kEvents, this);
}

void PipewireSound::disconnect() {
    hook_.remove();
    proxy_.reset();
    serial_ = 0;
}

void PipewireSound::handle_bound(void* data, uint32_t /*id*/, const spa_dict* properties) {
    auto* self = static_cast<PipewireSound*>(data);
    self->serial_ = object_serial(properties);
    self->changed_();
}

void PipewireSound::handle_error(void* /*data*/, int /*sequence*/, int /*result*/,
                                 const char* message) {
    log("PipeWire: no sound sink: {}", message);
}

}  // namespace stepscope
