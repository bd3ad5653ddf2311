// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_connection.hpp"

#include <cstring>

#include "log.hpp"

namespace stepscope {
namespace {

/** Between two looks for a daemon. */
constexpr int kRetryMs = 1000;

}  // namespace

const pw_core_events PipewireConnection::kCoreEvents{
    .version = PW_VERSION_CORE_EVENTS,
    .info = nullptr,
    .done = nullptr,
    .ping = nullptr,
    .error = handle_core_error,
    .remove_id = nullptr,
    .bound_id = nullptr,
    .add_mem = nullptr,
    .remove_mem = nullptr,
    .bound_props = nullptr,
};

PipewireConnection::PipewireConnection(wl_event_loop* loop, Hooks hooks)
    : loop_(loop), hooks_(std::move(hooks)) {
    pw_init(nullptr, nullptr);
}

PipewireConnection::~PipewireConnection() {
    source_.reset();
    retry_.reset();
    core_hook_.remove();
    core_.reset();
    context_.reset();
    if (entered_) {
        pw_loop_leave(pw_loop_.get());
    }
    pw_loop_.reset();
    pw_deinit();
}

Result<void> PipewireConnection::open() {
    pw_loop_.reset(pw_loop_new(nullptr));
    if (!pw_loop_) {
        return fail_errno("PipeWire's loop can't start");
    }
    // From here on this is the thread that PipeWire's own checks expect.
    pw_loop_enter(pw_loop_.get());
    entered_ = true;
    // Our nodes run on this loop: no thread of PipeWire's is needed, and none at real-time
    // priority.
    context_.reset(pw_context_new(
        pw_loop_.get(),
        pw_properties_new("context.num-data-loops", "0", "module.rt", "false", "support.dbus",
                          "false", PW_KEY_APP_NAME, "stepscope", nullptr),
        0));
    if (!context_) {
        return fail_errno("PipeWire can't start here");
    }
    source_.reset(wl_event_loop_add_fd(loop_, pw_loop_get_fd(pw_loop_.get()), WL_EVENT_READABLE,
                                       handle_readable, this));
    retry_.reset(wl_event_loop_add_timer(loop_, handle_retry, this));
    connect();
    return {};
}

void PipewireConnection::connect() {
    core_.reset(pw_context_connect(context_.get(), nullptr, 0));
    if (!core_) {
        if (!told_missing_) {
            log("PipeWire: no daemon can be reached ({}); the session runs on, its nodes appear "
                "when one starts",
                std::strerror(errno));
            told_missing_ = true;
        }
        wl_event_source_timer_update(retry_.get(), kRetryMs);
        return;
    }
    pw_core_add_listener(core_.get(), core_hook_.take(), &kCoreEvents, this);
    if (std::exchange(lost_, false) || told_missing_) {
        log("PipeWire: connected");
    }
    told_missing_ = false;
    hooks_.connected(core_.get());
}

// The core must not go while it calls us: that is left to the loop.
void PipewireConnection::handle_core_error(void* data, uint32_t id, int /*sequence*/, int result,
                                           const char* message) {
    auto* self = static_cast<PipewireConnection*>(data);
    if (id != PW_ID_CORE || result != -EPIPE) {
        if (!self->hooks_.expected(id)) {
            log("PipeWire: {} (object {})", message, id);
        }
        return;
    }
    self->lost_ = true;
    wl_event_source_timer_update(self->retry_.get(), 1);
}

int PipewireConnection::handle_retry(void* data) {
    auto* self = static_cast<PipewireConnection*>(data);
    if (self->core_) {
        self->drop();
    }
    self->connect();
    return 0;
}

void PipewireConnection::drop() {
    log("PipeWire: the daemon went away; waiting for it to come back");
    told_missing_ = true;
    hooks_.lost();
    core_hook_.remove();
    core_.reset();
}

int PipewireConnection::handle_readable(int /*fd*/, uint32_t /*mask*/, void* data) {
    auto* self = static_cast<PipewireConnection*>(data);
    while (pw_loop_iterate(self->pw_loop_.get(), 0) > 0) {
    }
    return 0;
}

}  // namespace stepscope
