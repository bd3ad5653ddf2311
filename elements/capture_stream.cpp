// SPDX-License-Identifier: LGPL-2.1-or-later
#include "capture_stream.hpp"

#include <format>

namespace stepscope {
namespace {

/** More slots than any compositor needs; a bound on what a broken one can make us map. */
constexpr size_t kMaxSlots = 256;

}  // namespace

CaptureStream::CaptureStream(std::shared_ptr<ControlClient> control, CursorMode cursor,
                             uint32_t credits, CaptureStats& stats)
    : control_(std::move(control)),
      capture_(std::make_shared<CaptureClient>(control_, *this)),
      credits_(credits),
      stats_(stats) {
    capture_->set_cursor(cursor);
}

CaptureStream::~CaptureStream() {
    frames_.clear();
    for (auto& [number, slot] : slots_) {
        slot->retire();
    }
    slots_.clear();
    // Whoever else has the capture is memory that consumers hold, of slots that are gone included.
    if (capture_.use_count() > 1) {
        capture_->detach();
    }
}

void CaptureStream::start() {
    capture_->grant(credits_);
    capture_->start();
}

void CaptureStream::set_cursor(CursorMode mode) {
    capture_->set_cursor(mode);
}

void CaptureStream::add_credit() {
    capture_->grant(1);
}

Result<void> CaptureStream::handle_slot(uint32_t slot, const PictureFormat& format,
                                        std::vector<SlotPlane> planes) {
    if (slots_.contains(slot) || slots_.size() >= kMaxSlots) {
        return fail(Fault::protocol,
                    std::format("the compositor announced slot {}, {}", slot,
                                slots_.contains(slot) ? "which is in use" : "one too many"));
    }
    // The capture, not this stream: a frame may be released long after the stream's end.
    auto memory = SlotMemory::create(
        format, std::move(planes),
        [capture = capture_](const std::vector<uint32_t>& serials) { capture->release(serials); });
    if (!memory) {
        return std::unexpected(memory.error());
    }
    stats_.imports += (*memory)->memory_count();
    slots_.emplace(slot, std::move(*memory));
    return {};
}

void CaptureStream::handle_slot_gone(uint32_t slot) {
    if (auto found = slots_.find(slot); found != slots_.end()) {
        found->second->retire();
        slots_.erase(found);
    }
}

Result<void> CaptureStream::handle_frame(const FrameInfo& frame, GstPtr<GstStepscopeFence> fence) {
    auto slot = slots_.find(frame.slot);
    if (slot == slots_.end()) {
        return fail(Fault::protocol,
                    std::format("the compositor sent a frame in slot {}, which was not announced",
                                frame.slot));
    }
    stats_.dropped += frame.dropped;
    CapturedFrame captured;
    captured.info = frame;
    captured.slot = slot->second;
    captured.memories = slot->second->acquire(frame.serial);
    captured.fence = std::move(fence);
    frames_.push(std::move(captured));
    return {};
}

}  // namespace stepscope
