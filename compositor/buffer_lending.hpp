// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "listener.hpp"

namespace stepscope {

/**
 * Decides how many of a game's own buffers consumers may hold at a time, so that the game has one
 * to draw into.
 *
 * Of n buffers one is on the output and one is for drawing: n - 2 can be lent for any length of
 * time. More can be lent to consumers that are prompt, that is, give a picture back soon after they
 * got a newer one, as sinks do that keep their last picture. So a surface starts with one buffer
 * lent, or n - 2; gets more after the first prompt return; and falls back to n - 2, which can be
 * none, after a late one, until the consumers were prompt for a while.
 */
class BufferLending {
public:
    enum class Answer {
        lend,
        /** Not now; a consumer is likely to give one back soon. */
        wait,
        /** Not now, and waiting would hold the game up. */
        copy,
    };

    /** The game showed `buffer` on `surface`. Call for each commit that could pass through. */
    void note_commit(wlr_surface* surface, wlr_buffer* buffer);

    /** Whether one more may be lent. A buffer that is lent already may be lent again. */
    Answer may_lend(wlr_buffer* buffer) const;

    /** Consumers get a picture of this surface, its own buffer or a copy: older ones are dated. */
    void note_delivered(wlr_surface* surface, wlr_buffer* newest, int64_t now_ns);

    /** A consumer holds the buffer; counted, each ended by give_back(). Ignores buffers of ours. */
    void lend(wlr_buffer* buffer);
    void give_back(wlr_buffer* buffer, int64_t now_ns);

    /** How many different buffers consumers hold, of all surfaces. */
    size_t lent() const;

private:
    enum class Trust { unknown, prompt, late };
    struct Pool {
        size_t buffers = 0;
        size_t lent = 0;
        Trust trust = Trust::unknown;
        unsigned prompt_returns = 0;
        Listener surface_destroyed;
    };
    struct Entry {
        Pool* pool = nullptr;
        unsigned holds = 0;
        /** When consumers got a newer picture; 0 while this is the newest. */
        int64_t dated_ns = 0;
        Listener destroyed;
    };

    Pool& pool_of(wlr_surface* surface);
    void move_to(Entry& entry, Pool* pool);
    static void note_return(Pool& pool, const Entry& entry, int64_t now_ns);

    // Entries point to pools, so they go first.
    std::map<wlr_surface*, std::unique_ptr<Pool>> pools_;
    std::map<wlr_buffer*, std::unique_ptr<Entry>> entries_;
};

}  // namespace stepscope
