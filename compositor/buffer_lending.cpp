// SPDX-License-Identifier: LGPL-2.1-or-later
#include "buffer_lending.hpp"

#include <algorithm>
#include <utility>

namespace stepscope {
namespace {

/** Longest time from the delivery of a newer picture to the return of an older one. */
constexpr int64_t kPromptNs = 25'000'000;
/** Prompt returns that make up for a late one: some seconds at a game's usual rate. */
constexpr unsigned kReturnsToForgive = 240;

/** Longer than a frame of any game takes: by then it has drawn into a third buffer or has none. */
constexpr int kProbeMs = 100;

}  // namespace

BufferLending::BufferLending(wl_event_loop* loop)
    : probe_timer_(wl_event_loop_add_timer(loop, handle_probe_end, this)) {}

BufferLending::~BufferLending() {
    for (auto& [surface, pool] : pools_) {
        end_probe(*pool);
    }
}

int BufferLending::handle_probe_end(void* data) {
    auto* self = static_cast<BufferLending*>(data);
    for (auto& [surface, pool] : self->pools_) {
        end_probe(*pool);
    }
    if (self->probe_done_) {
        self->probe_done_();
    }
    return 0;
}

void BufferLending::start_probe(Pool& pool) {
    pool.probed = true;
    for (auto& [buffer, entry] : entries_) {
        if (entry->pool == &pool) {
            pool.probe.push_back(wlr_buffer_lock(buffer));
        }
    }
    wl_event_source_timer_update(probe_timer_.get(), kProbeMs);
}

void BufferLending::end_probe(Pool& pool) {
    for (wlr_buffer* buffer : std::exchange(pool.probe, {})) {
        wlr_buffer_unlock(buffer);
    }
}

BufferLending::Pool& BufferLending::pool_of(wlr_surface* surface) {
    auto& pool = pools_[surface];
    if (!pool) {
        pool = std::make_unique<Pool>();
        pool->surface_destroyed.connect(surface->events.destroy, [this, surface](void*) {
            end_probe(*pools_.at(surface));
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

void BufferLending::note_commit(wlr_surface* surface, wlr_buffer* buffer, bool explicit_sync) {
    Pool& pool = pool_of(surface);
    pool.explicit_sync = explicit_sync;
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
    if (pool.buffers > 2) {
        end_probe(pool);
    }
}

size_t BufferLending::limit_of(const Pool& pool) {
    // A game with one buffer alone would stand still anyway while that is held.
    return pool.explicit_sync ? std::max<size_t>(pool.buffers, 3) - 2
                              : std::max<size_t>(pool.buffers, 2) - 1;
}

BufferLending::Answer BufferLending::may_lend(wlr_buffer* buffer) const {
    auto found = entries_.find(buffer);
    if (found == entries_.end() || found->second->pool == nullptr || found->second->holds != 0) {
        return Answer::lend;
    }
    const Pool& pool = *found->second->pool;
    if (pool.lent < limit_of(pool)) {
        return Answer::lend;
    }
    return pool.trust == Trust::late ? Answer::copy : Answer::wait;
}

void BufferLending::note_refused(wlr_buffer* buffer) {
    auto found = entries_.find(buffer);
    if (found != entries_.end() && found->second->pool != nullptr &&
        found->second->pool->buffers == 2 && !found->second->pool->probed) {
        start_probe(*found->second->pool);
    }
}

bool BufferLending::game_is_out(wlr_surface* surface, wlr_buffer* shown) const {
    auto pool = pools_.find(surface);
    auto entry = entries_.find(shown);
    return pool != pools_.end() && !pool->second->explicit_sync && pool->second->probe.empty() &&
           entry != entries_.end() && entry->second->holds == 0 &&
           pool->second->lent + 1 >= pool->second->buffers && pool->second->lent > 0;
}

void BufferLending::note_delivered(wlr_surface* surface, wlr_buffer* newest, int64_t now_ns) {
    auto pool = pools_.find(surface);
    if (pool == pools_.end()) {
        return;
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
