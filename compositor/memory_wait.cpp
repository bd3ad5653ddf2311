// SPDX-License-Identifier: LGPL-2.1-or-later
#include "memory_wait.hpp"

#include <utility>

#include "spare_picture.hpp"

namespace stepscope {
namespace {

/** How long a frame waits for consumers to return a buffer before it is copied instead. */
constexpr int kWaitMs = 4;
constexpr int64_t kWaitNs = int64_t{kWaitMs} * 1'000'000;

}  // namespace

MemoryWait::MemoryWait(wl_event_loop* loop, BufferLending& lending, std::function<void()> over)
    : lending_(lending),
      over_(std::move(over)),
      timer_(wl_event_loop_add_timer(loop, handle_timeout, this)) {}

bool MemoryWait::must_wait(wlr_surface* lone, int64_t now_ns) {
    wlr_buffer* buffer = held_source(lone);
    if (buffer == nullptr) {
        since_ns_ = 0;
        return false;
    }
    lending_.note_commit(lone, buffer, wlr_linux_drm_syncobj_v1_get_surface_state(lone) != nullptr);
    const BufferLending::Answer answer = lending_.may_lend(buffer);
    if (answer != BufferLending::Answer::lend) {
        lending_.note_refused(buffer);
    }
    if (answer != BufferLending::Answer::wait) {
        since_ns_ = 0;
        return false;
    }
    if (since_ns_ == 0) {
        since_ns_ = now_ns;
        wl_event_source_timer_update(timer_.get(), kWaitMs);
        return true;
    }
    if (now_ns - since_ns_ < kWaitNs) {
        return true;
    }
    since_ns_ = 0;
    return false;
}

int MemoryWait::handle_timeout(void* data) {
    auto* self = static_cast<MemoryWait*>(data);
    if (self->since_ns_ != 0) {
        // The wait is over, whatever the clock's resolution made of it.
        self->since_ns_ -= kWaitNs;
        self->over_();
    }
    return 0;
}

}  // namespace stepscope
