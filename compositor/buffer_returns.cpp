// SPDX-License-Identifier: LGPL-2.1-or-later
#include "buffer_returns.hpp"

#include "pacer.hpp"

namespace stepscope {

BufferReturns::~BufferReturns() {
    for (Waiting& waiting : waiting_) {
        waiting.wait.reset();
        finish(waiting.buffer);
    }
}

void BufferReturns::finish(wlr_buffer* buffer) {
    lending_.give_back(buffer, monotonic_ns());
    wlr_buffer_unlock(buffer);
}

void BufferReturns::take(wlr_buffer* buffer, std::optional<SyncFile> fence) {
    if (fence) {
        auto over = fence->wait(std::chrono::nanoseconds(0));
        if (over && *over) {
            fence.reset();
        }
    }
    if (!fence) {
        finish(buffer);
        return;
    }
    if (points_ != nullptr && points_->follows(buffer)) {
        points_->add_fence(buffer, std::move(*fence));
        finish(buffer);
        return;
    }
    auto entry = waiting_.insert(waiting_.end(), Waiting{buffer, nullptr});
    entry->wait = std::make_unique<FenceWait>(loop_, std::move(*fence), [this, entry] {
        wlr_buffer* done = entry->buffer;
        waiting_.erase(entry);
        finish(done);
        if (late_return_) {
            late_return_();
        }
    });
}

}  // namespace stepscope
