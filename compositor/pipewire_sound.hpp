// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "pipewire_connection.hpp"

namespace stepscope {

/**
 * The session's own sound card: a sink of the daemon's that plays nothing. What the game plays
 * there is captured from the sink's monitor. It lives as long as the connection.
 */
class PipewireSound {
public:
    /** `changed` is called when the daemon has made the sink. */
    PipewireSound(std::string node, std::string session, std::string description,
                  std::function<void()> changed);
    PipewireSound(const PipewireSound&) = delete;
    PipewireSound& operator=(const PipewireSound&) = delete;
    ~PipewireSound() { disconnect(); }

    void connect(pw_core* core);
    void disconnect();
    /** PipeWire's object.serial; 0 until the daemon has made the sink. */
    uint64_t serial() const { return serial_; }

private:
    static void handle_bound(void* data, uint32_t id, const spa_dict* properties);
    static void handle_error(void* data, int sequence, int result, const char* message);
    static const pw_proxy_events kEvents;

    std::string node_;
    std::string session_;
    std::string description_;
    PwHandle<pw_proxy, pw_proxy_destroy> proxy_;
    PwHook hook_;
    std::function<void()> changed_;
    uint64_t serial_ = 0;
};

}  // namespace stepscope
