// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_pool.hpp"

#include <algorithm>
#include <cerrno>

#include "frame_memory.hpp"
#include "log.hpp"
#include "pacer.hpp"

namespace stepscope {
namespace {

/** Memories of our own in each stream, for pictures that can't be given as they are. */
constexpr unsigned kOwnBuffers = 3;
/**
 * A picture that a consumer had when the stream was negotiated anew does not change for so long.
 * PipeWire does not tell when it is done with it.
 */
constexpr int64_t kKeptNs = 2'000'000'000;
/** Of the newest ones: the game and the compositor need memory, too. */
constexpr size_t kMaxKept = 2;

}  // namespace

PipewirePool::PipewirePool(wl_event_loop* loop, const PipewireBuffer::Owners& owners,
                           const PictureDrawing& drawing, int timeline_device,
                           std::function<void()> returned)
    : owners_(owners),
      drawing_(drawing),
      timeline_device_(timeline_device),
      returned_(std::move(returned)),
      kept_timer_(wl_event_loop_add_timer(loop, handle_kept, this)) {}

PipewirePool::~PipewirePool() {
    clear();
}

BufferLayout PipewirePool::plan(const VideoFormat& format, std::vector<wlr_buffer*> memories) {
    format_ = format;
    to_assign_ = std::move(memories);
    own_.clear();
    for (unsigned i = 0; i < kOwnBuffers; ++i) {
        if (auto picture =
                drawing_.make(format.fourcc, format.width, format.height, format.modifier)) {
            own_.push_back(std::move(picture));
        }
    }
    BufferLayout layout;
    layout.buffers = static_cast<unsigned>(to_assign_.size() + own_.size());
    layout.timelines = format.modifier && timeline_device_ >= 0;
    if (layout.buffers > 0) {
        wlr_buffer* first = !to_assign_.empty() ? to_assign_.front() : own_.front().get();
        if (auto memory = describe_buffer(first, Owner::compositor)) {
            layout.planes = memory->planes;
        }
    }
    return layout;
}

void PipewirePool::add(pw_buffer* pw) {
    auto buffer = std::make_unique<PipewireBuffer>(pw);
    if (!to_assign_.empty()) {
        buffer->assign(to_assign_.front());
        to_assign_.erase(to_assign_.begin());
    } else if (!own_.empty()) {
        buffer->assign(std::move(own_.back()));
        own_.pop_back();
    } else {
        // A consumer asked for more than we did.
        buffer->assign(
            drawing_.make(format_.fourcc, format_.width, format_.height, format_.modifier));
    }
    if (auto described = buffer->describe(timeline_device_); !described) {
        log("PipeWire: a buffer without memory: {}", described.error().message);
    }
    pw->user_data = buffer.get();
    buffers_.push_back(std::move(buffer));
}

void PipewirePool::remove(pw_buffer* pw, bool consumers_stay) {
    auto found = std::ranges::find(buffers_, pw, [](const auto& item) { return item->pw(); });
    if (found == buffers_.end()) {
        return;
    }
    const std::unique_ptr<PipewireBuffer> buffer = std::move(*found);
    buffers_.erase(found);
    wlr_buffer* hold = buffer->take_hold();
    if (hold == nullptr) {
        return;
    }
    if (!consumers_stay) {
        give_back(hold);
        return;
    }
    kept_.push_back({hold, buffer->picture(), monotonic_ns() + kKeptNs});
    if (kept_.size() > kMaxKept) {
        auto oldest = std::ranges::min_element(kept_, {}, &Kept::picture);
        wlr_buffer* given_up = oldest->buffer;
        kept_.erase(oldest);
        give_back(given_up);
    }
    arm_kept();
}

void PipewirePool::give_back(wlr_buffer* hold) {
    owners_.returns.take(hold, std::nullopt);
    returned_();
}

void PipewirePool::clear() {
    for (auto& buffer : buffers_) {
        if (wlr_buffer* hold = buffer->take_hold()) {
            give_back(hold);
        }
    }
    buffers_.clear();
    for (const Kept& kept : kept_) {
        give_back(kept.buffer);
    }
    kept_.clear();
    to_assign_.clear();
    own_.clear();
}

void PipewirePool::arm_kept() {
    if (!kept_.empty()) {
        const int64_t left_ms = (kept_.front().until_ns - monotonic_ns()) / 1'000'000;
        wl_event_source_timer_update(kept_timer_.get(), std::max(1, static_cast<int>(left_ms)));
    }
}

int PipewirePool::handle_kept(void* data) {
    auto* self = static_cast<PipewirePool*>(data);
    while (!self->kept_.empty() && self->kept_.front().until_ns <= monotonic_ns()) {
        wlr_buffer* buffer = self->kept_.front().buffer;
        self->kept_.pop_front();
        self->give_back(buffer);
    }
    self->arm_kept();
    return 0;
}

PipewireBuffer* PipewirePool::find(const wlr_buffer* memory) {
    auto found =
        std::ranges::find(buffers_, memory, [](const auto& buffer) { return buffer->memory(); });
    return found != buffers_.end() ? found->get() : nullptr;
}

PipewireBuffer* PipewirePool::find_free() {
    auto found =
        std::ranges::find_if(buffers_, [](const auto& buffer) { return buffer->free_own(); });
    return found != buffers_.end() ? found->get() : nullptr;
}

bool PipewirePool::any_out() const {
    return std::ranges::any_of(buffers_, [](const auto& buffer) { return buffer->out(); });
}

bool PipewirePool::has_timelines() const {
    return std::ranges::any_of(buffers_, [](const auto& buffer) { return buffer->has_timeline(); });
}

void PipewirePool::collect(pw_stream* stream, uint64_t over) {
    for (size_t tries = buffers_.size(); tries > 0; --tries) {
        if (pw_buffer* pw = pw_stream_dequeue_buffer(stream)) {
            static_cast<PipewireBuffer*>(pw->user_data)->set_home();
        } else if (errno != EBUSY) {
            break;
        }
    }
    bool any = false;
    for (auto& buffer : buffers_) {
        any = buffer->take_back(over, owners_) || any;
    }
    if (any) {
        returned_();
    }
}

}  // namespace stepscope
