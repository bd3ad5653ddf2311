// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pipewire/stream.h>

#include <optional>
#include <vector>

#include "base/sync_file.hpp"
#include "base/timeline.hpp"
#include "base/unique_fd.hpp"
#include "buffer_returns.hpp"
#include "listener.hpp"
#include "picture_drawing.hpp"

namespace stepscope {

/**
 * One memory of a PipeWire stream: a game's or the ring's, which consumers get as it is, or one of
 * our own that pictures are drawn into. Knows where it is, and when it may be written to again.
 */
class PipewireBuffer {
public:
    /** Who counts what consumers hold of the game's memory. Borrowed. */
    struct Owners {
        BufferLending& lending;
        BufferReturns& returns;
    };

    explicit PipewireBuffer(pw_buffer* pw) : pw_(pw) {}
    PipewireBuffer(const PipewireBuffer&) = delete;
    PipewireBuffer& operator=(const PipewireBuffer&) = delete;

    /** Which memory it is; before anything else, once. */
    void assign(wlr_buffer* memory);
    void assign(OwnPicture memory);
    /**
     * Writes into PipeWire's structures where the memory is. `device` has timelines, or is -1; used
     * if the consumer agreed on them.
     */
    Result<void> describe(int device);

    pw_buffer* pw() const { return pw_; }
    /** Null where there is none, and once the game has destroyed it. */
    wlr_buffer* memory() const { return memory_; }
    bool has_timeline() const { return timeline_.has_value(); }
    /** Our own, and free to be drawn into. */
    bool free_own() const { return own_ && home_ && !out_ && memory_ != nullptr; }
    /** Consumers have it, or may still come to it. */
    bool out() const { return out_; }
    bool home() const { return home_; }

    /** Number of the picture that it was sent with last. */
    uint64_t picture() const { return picture_; }

    /** PipeWire gave it back to us. */
    void set_home() { home_ = true; }
    /** It goes to consumers as the picture of that number; `memory` is kept from its owner. */
    void send(uint64_t picture, const Owners& owners);
    /** What consumers must wait for; null if nothing. Without a timeline they are not told. */
    void set_acquire(const SyncFile* fence);
    /**
     * Looks whether consumers are done: no picture before `over` can still come to one. True if it
     * is free from now on; its owner has it back, then.
     */
    bool take_back(uint64_t over, const Owners& owners);
    /** Ends a hold on the game's memory; the lock and the loan are the caller's from now on. Null
     * if there is none. */
    wlr_buffer* take_hold();

private:
    std::optional<std::optional<SyncFile>> release_fence();

    pw_buffer* pw_;
    wlr_buffer* memory_ = nullptr;
    OwnPicture own_;
    std::vector<UniqueFd> fds_;
    Listener destroyed_;

    bool home_ = false;  // with us; else PipeWire has it
    bool out_ = false;
    bool held_ = false;   // lent and locked: the game must not draw into it
    bool taken_ = false;  // a consumer was seen to use it
    uint64_t picture_ = 0;
    /** What the last readers of our own memory left. */
    std::optional<SyncFile> reading_;

    /** One timeline for both directions: odd points are acquired, even ones released. */
    std::optional<Timeline> timeline_;
    uint64_t point_ = 0;
};

}  // namespace stepscope
