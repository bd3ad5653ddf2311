// SPDX-License-Identifier: LGPL-2.1-or-later
// DisplaySource: pictures in memory of downstream.
#include <drm_fourcc.h>
#include <sys/stat.h>

#include <algorithm>

#include "display_source.hpp"

namespace stepscope {
namespace {

/** A pool has a buffer a moment after everybody let go of it. */
constexpr std::chrono::milliseconds kPoolPeriod{2};
/** Memory that a pool gave up is forgotten once there is so much more than may be in use. */
constexpr size_t kForgetFactor = 2;

}  // namespace

void DisplaySource::use_memory(const MemoryProposal& proposal) {
    if (downstream_ && proposal.pool && downstream_->is_of(proposal.pool.get())) {
        return;  // it is set up for these pictures, and may have buffers out
    }
    end_downstream({});
    if (auto begun = begin_downstream(proposal); !begun) {
        end_downstream(begun.error().message);
    }
}

Result<void> DisplaySource::begin_downstream(const MemoryProposal& proposal) {
    if (!chosen_ || (!proposal.pool && !proposal.allocator)) {
        return fail(Fault::unsupported, "downstream proposes none");
    }
    if (region_) {
        return fail(Fault::unsupported,
                    "region= is cut out of whole pictures, for which downstream's memory is too "
                    "small");
    }
    const PictureFormat& format = chosen_->format;
    const auto named = std::ranges::find_if(dmabuf_formats_, [&](const auto& offered) {
        return opaque_fourcc(offered.first) == format.fourcc && offered.second == format.modifier;
    });
    if (named == dmabuf_formats_.end() || format.modifier == DRM_FORMAT_MOD_INVALID) {
        return fail(Fault::unsupported, "the compositor takes no DMA-BUFs of that format");
    }
    if (!buffers_.takes_dmabuf()) {
        return fail(Fault::unsupported,
                    "the compositor draws with the CPU, and does not say in a DMA-BUF when that "
                    "has ended");
    }
    auto memory = DownstreamMemory::create(proposal, format, slot_limit_);
    if (!memory) {
        return std::unexpected(memory.error());
    }
    // One has to be accepted before those that are known to work are given up.
    auto first = (*memory)->acquire();
    if (!first) {
        return std::unexpected(first.error());
    }
    if (!*first) {
        return fail(Fault::unsupported, "downstream's pool has no buffer");
    }
    downstream_request_ = {.width = format.width,
                           .height = format.height,
                           .fourcc = named->first,
                           .modifier = format.modifier,
                           .memory = MemoryKind::dmabuf};
    auto imported = buffers_.import(downstream_request_, (**first).planes);
    if (!imported) {
        return std::unexpected(imported.error());
    }
    downstream_ = std::move(*memory);
    ++generation_;
    return {};
}

void DisplaySource::end_downstream(const std::string& reason) {
    own_memory_reason_ = reason;
    if (downstream_) {
        downstream_.reset();
        ++generation_;
    }
}

Result<uint32_t> DisplaySource::slot_of(DownstreamMemory::Picture picture) {
    std::vector<PlaneIdentity> identity;
    for (const SlotPlane& plane : picture.planes) {
        struct stat status{};
        if (::fstat(plane.fd.get(), &status) < 0) {
            return fail_errno("can't look at downstream's memory");
        }
        identity.push_back({status.st_ino, plane.offset, plane.stride});
    }
    auto known = std::ranges::find_if(
        slots_, [&](const auto& entry) { return entry.second.identity == identity; });
    if (known == slots_.end()) {
        if (slots_.size() >= kForgetFactor * slot_limit_) {
            std::erase_if(slots_, [](const auto& entry) { return entry.second.free; });
        }
        auto imported = buffers_.import(downstream_request_, picture.planes);
        if (!imported) {
            return std::unexpected(imported.error());
        }
        Slot slot;
        slot.buffer = std::move(*imported);
        slot.generation = generation_;
        slot.imports = 1;
        slot.identity = std::move(identity);
        // Memory that claims to be a DMA-BUF and is none has no fences.
        if (auto fences = CopyFences::create(picture.planes, false)) {
            slot.fences = std::move(*fences);
        }
        known = slots_.emplace(next_slot_++, std::move(slot)).first;
    }
    known->second.picture = std::move(picture);
    return known->first;
}

Result<std::optional<uint32_t>> DisplaySource::find_downstream_slot() {
    size_t in_use = 0;
    bool may_come = slots_.empty();
    for (auto& [number, slot] : slots_) {
        if (slot.free && slot.picture) {
            if (slot.fences.may_be_written()) {
                return number;
            }
            may_come = true;
        }
        in_use += slot.free && !slot.picture ? 0 : 1;
        may_come = may_come || (slot.free && !slot.picture);
    }
    if (in_use < slot_limit_) {
        auto acquired = downstream_->acquire();
        if (!acquired) {
            return std::unexpected(acquired.error());
        }
        if (*acquired) {
            auto number = slot_of(std::move(**acquired));
            if (!number) {
                return std::unexpected(number.error());
            }
            take_returned();  // its notice was given before the pool had it
            Slot& slot = slots_.at(*number);
            slot.free = true;
            if (slot.fences.may_be_written()) {
                return *number;
            }
            may_come = true;
        }
    }
    // Else somebody holds what there is, and wakes us when that ends.
    if (may_come) {
        look_again_at_ = Clock::now() + kPoolPeriod;
    }
    return std::nullopt;
}

void DisplaySource::give_memory(CapturedFrame& frame, uint32_t number, Slot& slot) {
    stats_.imports += std::exchange(slot.imports, 0);
    auto picture = std::exchange(slot.picture, std::nullopt);
    if (!picture || !chosen_) {
        frame.slot = slot.memory;
        frame.memories = slot.memory->acquire(frame.info.serial);
        return;
    }
    frame.buffer = std::move(picture->buffer);
    frame.buffer_format = chosen_->format;
    frame.buffer_layout = picture->layout;
    for (guint index = 0; index < gst_buffer_n_memory(frame.buffer.get()); ++index) {
        frame.memories.emplace_back(gst_buffer_get_memory(frame.buffer.get(), index));
    }
    notify_when_returned(frame.buffer.get(),
                         [returns = returns_, number] { returns->give_back(number); });
}

}  // namespace stepscope
