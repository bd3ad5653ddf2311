// SPDX-License-Identifier: LGPL-2.1-or-later
// The buffers of DisplaySource.
#include "display_source.hpp"

namespace stepscope {
namespace {

/** Nobody tells when a reader's fence signals. */
constexpr std::chrono::milliseconds kFencePeriod{2};

}  // namespace

Result<uint32_t> DisplaySource::make_slot(const Choice& choice) {
    auto made = buffers_.make(choice.request);
    if (!made) {
        return std::unexpected(made.error());
    }
    if (region_) {
        SlotPlane& plane = made->planes.front();
        plane.offset +=
            region_->y * plane.stride + region_->x * bytes_per_pixel(choice.format.fourcc);
    }
    CopyFences fences;
    if (choice.format.memory == MemoryKind::dmabuf) {
        auto created = CopyFences::create(made->planes, choice.request.as_dmabuf);
        if (!created) {
            return std::unexpected(created.error());
        }
        fences = std::move(*created);
    }
    const uint32_t number = next_slot_++;
    auto memory = SlotMemory::create(
        choice.format, std::move(made->planes),
        [returns = returns_, number](const std::vector<uint32_t>&) { returns->give_back(number); });
    if (!memory) {
        return std::unexpected(memory.error());
    }
    Slot slot;
    slot.buffer = std::move(made->buffer);
    slot.generation = generation_;
    slot.imports = (*memory)->memory_count();
    slot.memory = std::move(*memory);
    slot.fences = std::move(fences);
    slots_.emplace(number, std::move(slot));
    return number;
}

/** Those that consumers hold live on until they let go. */
void DisplaySource::drop_slots() {
    for (auto& [number, slot] : slots_) {
        if (slot.memory) {
            slot.memory->retire();
        }
    }
    slots_.clear();
}

/** A copy that is under way ends in the memory that it began with: there may be no other soon. */
void DisplaySource::drop_old_slots() {
    std::erase_if(slots_, [&](const auto& entry) {
        const auto& [number, slot] = entry;
        if (slot.generation == generation_ || number == copying_) {
            return false;
        }
        if (slot.memory) {
            slot.memory->retire();
        }
        return true;
    });
}

void DisplaySource::take_returned() {
    std::vector<uint32_t> returned;
    {
        std::lock_guard lock(returns_->mutex);
        returned.swap(returns_->slots);
    }
    for (uint32_t number : returned) {
        if (auto slot = slots_.find(number); slot != slots_.end()) {
            slot->second.fences.returned();
            slot->second.free = true;
        }
    }
}

Result<std::optional<uint32_t>> DisplaySource::find_slot(const Choice& choice) {
    take_returned();
    drop_old_slots();
    look_again_at_.reset();
    if (downstream_) {
        auto found = find_downstream_slot();
        if (found) {
            return found;
        }
        end_downstream(found.error().message);
        drop_old_slots();
    }
    return find_own_slot(choice);
}

Result<std::optional<uint32_t>> DisplaySource::find_own_slot(const Choice& choice) {
    for (auto& [number, slot] : slots_) {
        if (slot.free && slot.fences.may_be_written()) {
            return number;
        }
        if (slot.free) {
            look_again_at_ = Clock::now() + kFencePeriod;
        }
    }
    if (slots_.size() >= slot_limit_) {
        return std::nullopt;
    }
    return make_slot(choice);
}

}  // namespace stepscope
