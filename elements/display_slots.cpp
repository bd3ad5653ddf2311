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
    stats_.imports += (*memory)->memory_count();
    slots_.emplace(number,
                   Slot{std::move(made->buffer), std::move(*memory), std::move(fences), true});
    return number;
}

/** Those that consumers hold live on until they let go. */
void DisplaySource::drop_slots() {
    for (auto& [number, slot] : slots_) {
        slot.memory->retire();
    }
    slots_.clear();
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

Result<std::optional<uint32_t>> DisplaySource::find_slot() {
    take_returned();
    look_again_at_.reset();
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
    return make_slot(*chosen_);
}

}  // namespace stepscope
