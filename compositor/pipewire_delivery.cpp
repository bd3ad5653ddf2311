// SPDX-License-Identifier: LGPL-2.1-or-later
// How pictures get into a stream's buffers.
#include <algorithm>

#include "log.hpp"
#include "pipewire_cursor.hpp"
#include "pipewire_metadata.hpp"
#include "pipewire_video.hpp"

namespace stepscope {
namespace {

/** New memory of a game's comes in groups: wait a while before negotiating anew. */
constexpr int64_t kSettleNs = 200'000'000;

}  // namespace

// Where to put a picture: its own memory, or one of ours to draw it into. Null if there is none.
PipewireBuffer* PipewireVideo::place_for(const CapturedFrame& frame) {
    if (!format_) {
        return nullptr;
    }
    if (passes_as(frame.memory, *format_)) {
        PipewireBuffer* buffer = pool_.find(frame.buffer);
        if (buffer != nullptr && buffer->home() && !buffer->out()) {
            return buffer;
        }
        if (buffer == nullptr && renegotiate_at_ns_ == 0) {
            renegotiate_at_ns_ = monotonic_ns() + kSettleNs;
        }
    }
    PipewireBuffer* buffer = pool_.find_free();
    if (buffer == nullptr) {
        note_starved();
    }
    return buffer;
}

void PipewireVideo::show(const CapturedFrame& frame) {
    PipewireBuffer* target = place_for(frame);
    if (target == nullptr) {
        return;  // until a consumer gives one back
    }
    if (frame.acquire != nullptr) {
        // A consumer that finds the fence waits by itself. Our renderer need not.
        const bool as_it_is = target->memory() == frame.buffer;
        const bool found =
            as_it_is && (target->has_timeline() || put_into_memory(frame.memory, *frame.acquire));
        if (!found) {
            wait_for(frame);
            return;
        }
    }
    if (deliver(frame, *target, shown_ns_, sequence_, damage_)) {
        ++sequence_;
        damage_.clear();
        sent_commit_ = frame.commit;
        behind_ = false;
    }
}

bool PipewireVideo::deliver(const CapturedFrame& frame, PipewireBuffer& target, int64_t shown_ns,
                            uint64_t sequence, Region& damage) {
    if (!format_) {
        return false;
    }
    const VideoFormat& format = *format_;
    std::optional<SyncFile> drawn;
    const SyncFile* acquire = frame.acquire;
    if (target.memory() != frame.buffer) {
        if (!drawing_.draw(frame.buffer, target.memory())) {
            note_starved();
            return false;
        }
        drawn = implicit_fence(target.memory(), BufferAccess::read);
        acquire = drawn ? &*drawn : nullptr;
    }
    starved_since_ns_ = 0;
    pool_.send(target, cycle_.next_picture());
    target.set_acquire(acquire);
    const bool scaled = format.width != frame.memory.width || format.height != frame.memory.height;
    write_metadata(target.pw()->buffer,
                   {.time_ns = shown_ns,
                    .sequence = sequence,
                    .discontinuity = std::exchange(discontinuity_, false),
                    .width = format.width,
                    .height = format.height,
                    .damage = scaled || std::exchange(whole_, false) ? nullptr : damage.get()});
    write_cursor(target.pw()->buffer, output_, format.width, format.height);
    pw_stream_queue_buffer(stream_.get(), target.pw());
    cycle_.begin(frame.presented_ns, output_.rate());
    FramePath path = frame.path;
    if (target.memory() != frame.buffer) {
        path = scaled ? STEPSCOPE_CAPTURE_V1_PATH_COMPOSED : STEPSCOPE_CAPTURE_V1_PATH_COPIED;
    }
    counts_.add(path);
    counts_.tell(stream_.get(), frame.presented_ns, false);
    return true;
}

// Nobody else has to: the game and other captures go on.
void PipewireVideo::wait_for(const CapturedFrame& frame) {
    auto fence = frame.acquire->duplicate();
    if (!fence) {
        log("PipeWire: a picture is lost: {}", fence.error().message);
        return;
    }
    undrawn_ = std::make_unique<Undrawn>();
    undrawn_->frame = frame;
    undrawn_->frame.acquire = nullptr;
    undrawn_->frame.damage = nullptr;
    undrawn_->shown_ns = shown_ns_;
    undrawn_->sequence = sequence_++;
    undrawn_->damage.add(damage_.get());
    undrawn_->wait =
        std::make_unique<FenceWait>(loop_, std::move(*fence), [this] { handle_drawn(); });
    wlr_buffer_lock(frame.buffer);
    services_.lending.lend(frame.buffer);
    damage_.clear();
    sent_commit_ = frame.commit;
    behind_ = false;
}

void PipewireVideo::handle_drawn() {
    const std::unique_ptr<Undrawn> drawn = std::move(undrawn_);
    collect();
    PipewireBuffer* target =
        streaming_ && format_ && !cycle_.running() ? place_for(drawn->frame) : nullptr;
    if (target == nullptr ||
        !deliver(drawn->frame, *target, drawn->shown_ns, drawn->sequence, drawn->damage)) {
        damage_.add(drawn->damage.get());
        behind_ = true;
    }
    services_.returns.take(drawn->frame.buffer, std::nullopt);
    output_.handle_memory_returned();
    if (behind_) {
        arm_poll(false);
        output_.request_picture();
    }
}

void PipewireVideo::drop_undrawn() {
    if (const std::unique_ptr<Undrawn> dropped = std::move(undrawn_)) {
        services_.returns.take(dropped->frame.buffer, std::nullopt);
        behind_ = true;
    }
}

}  // namespace stepscope
