// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "listener.hpp"

namespace stepscope {

/**
 * Decides how many of a game's own buffers consumers may hold at a time, so that the game always
 * has one to draw into.
 *
 * Of n buffers n - 1 can be lent: when the game shows the last one, that is copied and goes back at
 * once (see game_is_out()). A consumer that is prompt, that is, gives a picture back soon after it
 * got a newer one, is worth waiting some milliseconds for instead of copying; a late one is not.
 *
 * Many games make more buffers when those that they have are in use, and show only two until then.
 * So once, when consumers hold one of two, both are kept for a moment: either the game turns out to
 * have a third, or it is known to have two.
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

    explicit BufferLending(wl_event_loop* loop);
    /** Called when a surface's buffers were kept for a moment and may be free again. */
    void set_probe_done(std::function<void()> done) { probe_done_ = std::move(done); }
    BufferLending(const BufferLending&) = delete;
    BufferLending& operator=(const BufferLending&) = delete;
    ~BufferLending();

    /**
     * The game showed `buffer` on `surface`. Call for each commit that could pass through. Clients
     * with explicit sync get what they show back with the next commit only, whoever copied it: of
     * their n buffers n - 2 are lent.
     */
    void note_commit(wlr_surface* surface, wlr_buffer* buffer, bool explicit_sync = false);

    /** Whether one more may be lent. A buffer that is lent already may be lent again. */
    Answer may_lend(wlr_buffer* buffer) const;
    /** The answer was no: finds out, once for a surface, whether the game has more buffers. */
    void note_refused(wlr_buffer* buffer);

    /** Whether the game has no buffer left to draw into, and `shown`, its newest, is not lent. */
    bool game_is_out(wlr_surface* surface, wlr_buffer* shown) const;

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
        bool explicit_sync = false;
        bool probed = false;             // for more than two buffers
        std::vector<wlr_buffer*> probe;  // locked while that goes on
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

    static size_t limit_of(const Pool& pool);
    static int handle_probe_end(void* data);
    void start_probe(Pool& pool);
    static void end_probe(Pool& pool);
    Pool& pool_of(wlr_surface* surface);
    void move_to(Entry& entry, Pool* pool);
    static void note_return(Pool& pool, const Entry& entry, int64_t now_ns);

    EventSource probe_timer_;
    std::function<void()> probe_done_;
    // Entries point to pools, so they go first.
    std::map<wlr_surface*, std::unique_ptr<Pool>> pools_;
    std::map<wlr_buffer*, std::unique_ptr<Entry>> entries_;
};

}  // namespace stepscope
