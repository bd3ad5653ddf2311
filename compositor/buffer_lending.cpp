// SPDX-License-Identifier: LGPL-2.1-or-later
#include "buffer_lending.hpp"

#include <algorithm>

namespace stepscope {
namespace {

/** How long a game with two buffers keeps both after a consumer was late. */
constexpr int64_t kStrictPeriodNs = 5'000'000'000;

}  // namespace

void BufferLending::note_commit(wlr_surface* surface, wlr_buffer* buffer, int64_t now_ns) {
    auto& pool = pools_[surface];
    if (!pool) {
        pool = std::make_unique<Pool>();
        pool->surface_destroyed.connect(surface->events.destroy, [this, surface](void*) {
            const Pool* gone = pools_.at(surface).get();
            for (auto& [unused, entry] : entries_) {
                if (entry->pool == gone) {
                    entry->pool = nullptr;
                }
            }
            pools_.erase(surface);
        });
    }
    auto& entry = entries_[buffer];
    if (!entry) {
        entry = std::make_unique<Entry>();
        entry->destroyed.connect(buffer->events.destroy, [this, buffer](void*) { forget(buffer); });
    }
    if (entry->pool != pool.get()) {
        if (entry->pool != nullptr) {
            --entry->pool->buffers;
            entry->pool->lent -= entry->holds != 0;
        }
        entry->pool = pool.get();
        ++pool->buffers;
        pool->lent += entry->holds != 0;
    }
    if (pool->newest != buffer) {
        pool->newest = buffer;
        // What is lent now is from before this commit: the game has only the rest to draw into.
        const bool late = pool->buffers <= 2 && pool->lent > (entry->holds != 0 ? 1U : 0U);
        if (late) {
            pool->strict_until_ns = now_ns + kStrictPeriodNs;
        }
    }
}

size_t BufferLending::limit(const Pool& pool, int64_t now_ns) {
    if (pool.buffers > 2) {
        return pool.buffers - 2;
    }
    return now_ns < pool.strict_until_ns ? 0 : 1;
}

bool BufferLending::may_lend(wlr_buffer* buffer, int64_t now_ns) const {
    auto found = entries_.find(buffer);
    if (found == entries_.end() || found->second->pool == nullptr || found->second->holds != 0) {
        return true;
    }
    return found->second->pool->lent < limit(*found->second->pool, now_ns);
}

void BufferLending::lend(wlr_buffer* buffer) {
    auto found = entries_.find(buffer);
    if (found == entries_.end()) {
        return;
    }
    Entry& entry = *found->second;
    if (entry.holds++ == 0 && entry.pool != nullptr) {
        ++entry.pool->lent;
    }
}

void BufferLending::give_back(wlr_buffer* buffer) {
    auto found = entries_.find(buffer);
    if (found == entries_.end() || found->second->holds == 0) {
        return;
    }
    Entry& entry = *found->second;
    if (--entry.holds == 0 && entry.pool != nullptr) {
        --entry.pool->lent;
    }
}

size_t BufferLending::lent() const {
    return static_cast<size_t>(
        std::ranges::count_if(entries_, [](const auto& item) { return item.second->holds != 0; }));
}

void BufferLending::forget(wlr_buffer* buffer) {
    auto found = entries_.find(buffer);
    Pool* pool = found->second->pool;
    if (pool != nullptr) {
        --pool->buffers;
        pool->lent -= found->second->holds != 0;
        if (pool->newest == buffer) {
            pool->newest = nullptr;
        }
    }
    entries_.erase(found);
}

}  // namespace stepscope
