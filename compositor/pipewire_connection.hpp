// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pipewire/pipewire.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "listener.hpp"

namespace stepscope {

/** A libpipewire object that ends with its owner. */
template <typename T, void (*destroy)(T*)>
struct PwDelete {
    void operator()(T* object) const { destroy(object); }
};
template <typename T, void (*destroy)(T*)>
using PwHandle = std::unique_ptr<T, PwDelete<T, destroy>>;

/** A spa_hook: listens until it goes. */
class PwHook {
public:
    PwHook() = default;
    PwHook(const PwHook&) = delete;
    PwHook& operator=(const PwHook&) = delete;
    ~PwHook() { remove(); }
    /** To pass to a pw_…_add_listener(), which must follow at once. */
    spa_hook* take() {
        remove();
        hook_ = {};
        used_ = true;
        return &hook_;
    }
    void remove() {
        if (used_) {
            spa_hook_remove(&hook_);
            used_ = false;
        }
    }
    /** What it listened to is gone, and has removed it on the way. */
    void forget() { used_ = false; }

private:
    spa_hook hook_{};
    bool used_ = false;
};

/** PipeWire's object.serial among an object's properties; 0 where it is not there. */
inline uint64_t object_serial(const spa_dict* properties) {
    const char* text =
        properties != nullptr ? spa_dict_lookup(properties, PW_KEY_OBJECT_SERIAL) : nullptr;
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 0;
}

/**
 * The connection to the user's PipeWire daemon, on the compositor's own loop and thread. Connects
 * again when the daemon went away.
 */
class PipewireConnection {
public:
    struct Hooks {
        /** Connected; make what belongs there. Called from the loop, never from open(). */
        std::function<void(pw_core* core)> connected;
        /** The daemon is gone; destroy everything that was made of the core, now. */
        std::function<void()> lost;
        /** Whether an error about this object of ours is no news. */
        std::function<bool(uint32_t id)> expected;
    };

    PipewireConnection(wl_event_loop* loop, Hooks hooks);
    PipewireConnection(const PipewireConnection&) = delete;
    PipewireConnection& operator=(const PipewireConnection&) = delete;
    ~PipewireConnection();

    /** Starts to connect; fails only where libpipewire itself can't start. */
    Result<void> open();
    pw_core* core() const { return core_.get(); }
    /** Does PipeWire's work now, waiting for some at most so long. */
    void iterate(int milliseconds) { pw_loop_iterate(pw_loop_.get(), milliseconds); }

private:
    static int handle_readable(int fd, uint32_t mask, void* data);
    static int handle_retry(void* data);
    static void handle_core_error(void* data, uint32_t id, int sequence, int result,
                                  const char* message);
    static void disconnect_core(pw_core* core) { pw_core_disconnect(core); }
    static const pw_core_events kCoreEvents;

    void connect();
    void drop();

    wl_event_loop* loop_;
    Hooks hooks_;
    bool entered_ = false;
    bool told_missing_ = false;
    bool lost_ = false;
    PwHandle<pw_loop, pw_loop_destroy> pw_loop_;
    PwHandle<pw_context, pw_context_destroy> context_;
    PwHandle<pw_core, disconnect_core> core_;
    PwHook core_hook_;
    EventSource source_;
    EventSource retry_;
};

}  // namespace stepscope
