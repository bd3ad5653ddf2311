// SPDX-License-Identifier: LGPL-2.1-or-later
#include "buffer_lending.hpp"

#include <algorithm>

namespace stepscope {
namespace {

/** Longest time from the delivery of a newer picture to the return of an older one. */
constexpr int64_t kPromptNs = 25'000'000;
/** Prompt returns that make up for a late one: some seconds at a game's usual rate. */
constexpr unsigned kReturnsToForgive = 240;
/** Pictures delivered as copies, with nothing lent that could come back, that make up for it. */
constexpr unsigned kCopiesToForgive = 120;

}  // namespace

BufferLending::Pool& BufferLending::pool_of(wlr_surface* surface) {
    auto& pool = pools_[surface];
    if (!pool) {
        pool = std::make_unique<Pool>();
        pool->surface_destroyed.connect(surface->events.destroy, [this, surface](void*) {
            for (auto& [buffer, entry] : entries_) {
                if (entry->pool == pools_.at(surface).get()) {
                    entry->pool = nullptr;
                }
            }
            pools_.erase(surface);
        });
    }
    return *pool;
}

void BufferLending::move_to(Entry& entry, Pool* pool) {
    const size_t lent = entry.holds != 0 ? 1 : 0;
    if (entry.pool != nullptr) {
        --entry.pool->buffers;
        entry.pool->lent -= lent;
    }
    entry.pool = pool;
    if (pool != nullptr) {
        ++pool->buffers;
        pool->lent += lent;
    }
}

void BufferLending::note_commit(wlr_surface* surface, wlr_buffer* buffer) {
    Pool& pool = pool_of(surface);
    auto& entry = entries_[buffer];
    if (!entry) {
        entry = std::make_unique<Entry>();
        entry->destroyed.connect(buffer->events.destroy, [this, buffer](void*) {
            auto found = entries_.find(buffer);
            move_to(*found->second, nullptr);
            entries_.erase(found);
        });
    }
    if (entry->pool != &pool) {
        move_to(*entry, &pool);
    }
}

BufferLending::Answer BufferLending::may_lend(wlr_buffer* buffer) const {
    auto found = entries_.find(buffer);
    if (found == entries_.end() || found->second->pool == nullptr || found->second->holds != 0) {
        return Answer::lend;
    }
    const Pool& pool = *found->second->pool;
    const size_t spare = pool.buffers > 2 ? pool.buffers - 2 : 0;
    switch (pool.trust) {
        case Trust::unknown:
            return pool.lent < std::max<size_t>(spare, 1) ? Answer::lend : Answer::wait;
        case Trust::prompt:
            // With this one: what is older comes back because this one is delivered.
            return pool.lent < std::max<size_t>(spare + 1, 2) ? Answer::lend : Answer::wait;
        case Trust::late:
            return pool.lent < spare ? Answer::lend : Answer::copy;
    }
    return Answer::copy;
}

void BufferLending::note_delivered(wlr_surface* surface, wlr_buffer* newest, int64_t now_ns) {
    auto pool = pools_.find(surface);
    if (pool == pools_.end()) {
        return;
    }
    // Nobody can be prompt with nothing; and a game that gets each buffer back at once shows only
    // two, however many it has.
    Pool& its = *pool->second;
    if (its.trust == Trust::late && its.lent == 0 && its.buffers <= 2 &&
        ++its.prompt_returns >= kCopiesToForgive) {
        its.trust = Trust::unknown;
        its.prompt_returns = 0;
    }
    for (auto& [buffer, entry] : entries_) {
        if (buffer == newest) {
            entry->dated_ns = 0;
        } else if (entry->pool == pool->second.get() && entry->holds != 0 && entry->dated_ns == 0) {
            entry->dated_ns = now_ns;
        }
    }
}

void BufferLending::lend(wlr_buffer* buffer) {
    auto found = entries_.find(buffer);
    if (found != entries_.end() && found->second->holds++ == 0 && found->second->pool != nullptr) {
        ++found->second->pool->lent;
    }
}

void BufferLending::note_return(Pool& pool, const Entry& entry, int64_t now_ns) {
    if (entry.dated_ns != 0 && now_ns - entry.dated_ns > kPromptNs) {
        pool.trust = Trust::late;
        pool.prompt_returns = 0;
        return;
    }
    ++pool.prompt_returns;
    if (pool.trust == Trust::unknown || pool.prompt_returns >= kReturnsToForgive) {
        pool.trust = Trust::prompt;
    }
}

void BufferLending::give_back(wlr_buffer* buffer, int64_t now_ns) {
    auto found = entries_.find(buffer);
    if (found == entries_.end() || found->second->holds == 0) {
        return;
    }
    Entry& entry = *found->second;
    if (--entry.holds == 0 && entry.pool != nullptr) {
        --entry.pool->lent;
        note_return(*entry.pool, entry, now_ns);
        entry.dated_ns = 0;
    }
}

size_t BufferLending::lent() const {
    return static_cast<size_t>(
        std::ranges::count_if(entries_, [](const auto& item) { return item.second->holds != 0; }));
}

}  // namespace stepscope
