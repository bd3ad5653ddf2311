// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <memory>

#include "listener.hpp"

namespace stepscope {

/**
 * Decides how many of a game's own buffers consumers may hold at a time, so that the game always
 * has one to draw into: of n buffers one is on the output, one is for drawing, the other n - 2 may
 * be lent. A game with two buffers lends one as long as consumers bring it back before the game
 * needs it; after they were late, none for a while.
 */
class BufferLending {
public:
    /** The game showed `buffer` on `surface`. Call for each commit that could pass through. */
    void note_commit(wlr_surface* surface, wlr_buffer* buffer, int64_t now_ns);

    /** Whether one more may be lent now. A buffer that is lent already may be lent again. */
    bool may_lend(wlr_buffer* buffer, int64_t now_ns) const;

    /** A consumer holds the buffer; counted, each ended by give_back(). Ignores buffers of ours. */
    void lend(wlr_buffer* buffer);
    void give_back(wlr_buffer* buffer);

    /** How many different buffers consumers hold, of all surfaces. */
    size_t lent() const;

private:
    struct Pool;
    struct Entry {
        Pool* pool = nullptr;
        unsigned holds = 0;
        Listener destroyed;
    };
    struct Pool {
        wlr_buffer* newest = nullptr;
        size_t buffers = 0;
        size_t lent = 0;
        int64_t strict_until_ns = 0;
        Listener surface_destroyed;
    };

    void forget(wlr_buffer* buffer);
    static size_t limit(const Pool& pool, int64_t now_ns);

    std::map<wlr_surface*, std::unique_ptr<Pool>> pools_;
    std::map<wlr_buffer*, std::unique_ptr<Entry>> entries_;
};

}  // namespace stepscope
