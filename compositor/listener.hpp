// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <utility>

#include "wlr.hpp"

namespace stepscope {

/**
 * Listens to one wl_signal and stops when it goes. Connect again to move it to another signal.
 * wlroots asserts that nobody listens to an object that it destroys: connect the object's destroy
 * signal too, and disconnect there. The handler may disconnect or destroy its own listener only as
 * its last act.
 */
class Listener {
public:
    using Handler = std::function<void(void* data)>;

    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    ~Listener() { disconnect(); }

    void connect(wl_signal& signal, Handler handler) {
        disconnect();
        handler_ = std::move(handler);
        raw_.listener.notify = dispatch;
        wl_signal_add(&signal, &raw_.listener);
        connected_ = true;
    }

    /** Like connect(), but called before all who listen already. */
    void connect_first(wl_signal& signal, Handler handler) {
        connect(signal, std::move(handler));
        wl_list_remove(&raw_.listener.link);
        wl_list_insert(&signal.listener_list, &raw_.listener.link);
    }

    /** Called when the client goes, before anything of it does. */
    void connect_to_end(wl_client* client, Handler handler) {
        disconnect();
        handler_ = std::move(handler);
        raw_.listener.notify = dispatch;
        wl_client_add_destroy_listener(client, &raw_.listener);
        connected_ = true;
    }

    void disconnect() {
        if (std::exchange(connected_, false)) {
            wl_list_remove(&raw_.listener.link);
        }
    }

private:
    struct Raw {
        wl_listener listener;
        Listener* self;
    };

    static void dispatch(wl_listener* listener, void* data) {
        Raw* raw = wl_container_of(listener, raw, listener);
        // A copy: the handler may disconnect and thereby end what it was called through.
        Handler handler = raw->self->handler_;
        handler(data);
    }

    Raw raw_{.listener = {}, .self = this};
    Handler handler_;
    bool connected_ = false;
};

}  // namespace stepscope
