// SPDX-License-Identifier: LGPL-2.1-or-later
#include "capture_client.hpp"

#include <drm_fourcc.h>

#include <algorithm>
#include <format>
#include <ranges>
#include <span>
#include <tuple>
#include <utility>

#include "stepscope-control-v1-client-protocol.h"

namespace stepscope {
namespace {

/** How long a stop waits for the compositor to be done with frames on their way. */
constexpr std::chrono::milliseconds kDetachTimeout{500};

/** Larger pictures than any output of the protocol; keeps sizes within 32 bits per row. */
constexpr uint32_t kMaxSide = 32768;

/** As many formats as fit into a message of Wayland, the preferred ones first. */
constexpr size_t kMaxFormats = 300;

uint64_t join(uint32_t high, uint32_t low) {
    return uint64_t{high} << 32 | low;
}

}  // namespace

struct CaptureClient::Listeners {
    static CaptureClient& self(void* data) { return *static_cast<CaptureClient*>(data); }

    static void format(void* data, stepscope_capture_v1*, uint32_t width, uint32_t height,
                       uint32_t fourcc, uint32_t modifier_hi, uint32_t modifier_lo) {
        CaptureClient& capture = self(data);
        if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide) {
            capture.broken(std::format("pictures of {}x{} pixels; 1 to {} are possible", width,
                                       height, kMaxSide));
            return;
        }
        const uint64_t modifier = join(modifier_hi, modifier_lo);
        if (modifier == DRM_FORMAT_MOD_INVALID) {
            capture.broken("pictures without an explicit modifier");
            return;
        }
        capture.format_ = {width, height, fourcc, modifier, MemoryKind::memfd};
        capture.format_known_ = true;
    }

    static void slot(void* data, stepscope_capture_v1*, uint32_t slot, uint32_t memory,
                     uint32_t planes) {
        CaptureClient& capture = self(data);
        if (!capture.format_known_) {
            capture.broken("a slot before the format");
            return;
        }
        if (planes < 1 || planes > 4 ||
            (memory != STEPSCOPE_CAPTURE_V1_MEMORY_MEMFD &&
             memory != STEPSCOPE_CAPTURE_V1_MEMORY_DMABUF)) {
            capture.broken(std::format("a slot of {} planes of memory of kind {}", planes, memory));
            return;
        }
        capture.pending_slot_ = PendingSlot{
            slot,
            memory == STEPSCOPE_CAPTURE_V1_MEMORY_DMABUF ? MemoryKind::dmabuf : MemoryKind::memfd,
            std::vector<SlotPlane>(planes)};
    }

    static void plane(void* data, stepscope_capture_v1*, uint32_t slot, uint32_t index, int32_t fd,
                      uint32_t offset, uint32_t stride) {
        CaptureClient& capture = self(data);
        SlotPlane plane{UniqueFd(fd), offset, stride};
        if (!capture.pending_slot_ || capture.pending_slot_->slot != slot ||
            index >= capture.pending_slot_->planes.size() ||
            capture.pending_slot_->planes[index].fd) {
            capture.broken(
                std::format("plane {} of slot {}, which was not announced", index, slot));
            return;
        }
        capture.pending_slot_->planes[index] = std::move(plane);
    }

    static void slot_done(void* data, stepscope_capture_v1*, uint32_t slot) {
        CaptureClient& capture = self(data);
        if (!capture.pending_slot_ || capture.pending_slot_->slot != slot ||
            !std::ranges::all_of(capture.pending_slot_->planes,
                                 [](const SlotPlane& plane) { return bool(plane.fd); })) {
            capture.broken(std::format("the end of slot {}, which is not complete", slot));
            return;
        }
        PendingSlot pending = std::move(*capture.pending_slot_);
        capture.pending_slot_.reset();
        if (capture.handler_ == nullptr) {
            return;
        }
        PictureFormat format = capture.format_;
        format.memory = pending.memory;
        capture.slot_memory_[slot] = pending.memory;
        if (auto taken = capture.handler_->handle_slot(slot, format, std::move(pending.planes));
            !taken) {
            capture.control_->fail_with(taken.error());
        }
    }

    static void slot_gone(void* data, stepscope_capture_v1*, uint32_t slot) {
        CaptureClient& capture = self(data);
        capture.slot_memory_.erase(slot);
        if (capture.handler_ != nullptr) {
            capture.handler_->handle_slot_gone(slot);
        }
    }

    static void damage(void* data, stepscope_capture_v1*, int32_t x, int32_t y, int32_t width,
                       int32_t height) {
        CaptureClient& capture = self(data);
        if (x < 0 || y < 0 || width <= 0 || height <= 0) {
            capture.broken(std::format("damage of {}x{} at {},{}", width, height, x, y));
            return;
        }
        add_damage(capture.pending_damage_,
                   {static_cast<uint32_t>(x), static_cast<uint32_t>(y),
                    static_cast<uint32_t>(width), static_cast<uint32_t>(height)},
                   capture.picture());
    }

    static void step_time(void* data, stepscope_capture_v1*, uint32_t step_hi, uint32_t step_lo,
                          uint32_t now_hi, uint32_t now_lo) {
        self(data).pending_step_ = {join(step_hi, step_lo), join(now_hi, now_lo)};
    }

    static void frame(void* data, stepscope_capture_v1*, uint32_t slot, uint32_t serial,
                      uint32_t commit_hi, uint32_t commit_lo, uint32_t seconds_hi,
                      uint32_t seconds_lo, uint32_t nanoseconds, uint32_t path, uint32_t reason,
                      uint32_t flags, uint32_t dropped) {
        CaptureClient& capture = self(data);
        --capture.credits_;
        Damage damage = std::exchange(capture.pending_damage_, {});
        if (capture.handler_ == nullptr) {
            capture.pending_fence_.reset();
            capture.release({serial});
            return;
        }
        const uint64_t seconds = join(seconds_hi, seconds_lo);
        if (nanoseconds >= 1'000'000'000 || seconds > INT64_MAX / 1'000'000'000 - 1) {
            capture.broken(std::format("a frame of the time {} s {} ns, which can't be", seconds,
                                       nanoseconds));
            return;
        }
        if (path < STEPSCOPE_CAPTURE_V1_PATH_PASSED_THROUGH ||
            path > STEPSCOPE_CAPTURE_V1_PATH_COPIED || reason > STEPSCOPE_CAPTURE_V1_REASON_OTHER) {
            capture.broken(
                std::format("a frame with path {} and reason {}, which are unknown", path, reason));
            return;
        }
        FrameInfo info;
        info.slot = slot;
        info.serial = serial;
        info.commit = join(commit_hi, commit_lo);
        info.time_ns = seconds * 1'000'000'000 + nanoseconds;
        info.path = static_cast<FramePath>(path);
        info.reason = static_cast<FrameReason>(reason);
        info.first = (flags & STEPSCOPE_CAPTURE_V1_FLAG_FIRST) != 0;
        info.dropped = dropped;
        if (!info.first && !damage.empty() && !covers(damage, capture.picture())) {
            info.damage = std::move(damage);
            info.damage_since = capture.last_commit_;
        }
        capture.last_commit_ = info.commit;
        std::tie(info.step, info.virtual_time_ns) = std::exchange(capture.pending_step_, {0, 0});
        if (auto taken = capture.handler_->handle_frame(info, capture.take_fence(info)); !taken) {
            capture.control_->fail_with(taken.error());
        }
    }

    static void acquire_fence(void* data, stepscope_capture_v1*, int32_t fence) {
        self(data).pending_fence_.reset(fence);
    }

    static constexpr stepscope_capture_v1_listener capture{
        format, slot, plane, slot_done, slot_gone, damage, step_time, frame, acquire_fence};
};

void absorb_damage(FrameInfo& next, const FrameInfo& dropped) {
    next.damage =
        next.damage_since == dropped.commit ? join_damage(dropped.damage, next.damage) : Damage();
    next.damage_since = next.damage.empty() ? 0 : dropped.damage_since;
}

CaptureClient::CaptureClient(std::shared_ptr<ControlClient> control, CaptureHandler& handler)
    : control_(std::move(control)), capture_(control_->create_capture()), handler_(&handler) {
    stepscope_capture_v1_add_listener(capture_, &Listeners::capture, this);
}

CaptureClient::~CaptureClient() {
    stepscope_capture_v1_destroy(capture_);
    control_->flush();
}

void CaptureClient::set_cursor(CursorMode mode) {
    stepscope_capture_v1_set_cursor(capture_, static_cast<uint32_t>(mode));
    control_->flush();
}

void CaptureClient::start() {
    stepscope_capture_v1_start(capture_);
    control_->flush();
}

void CaptureClient::grant(uint32_t credits) {
    stepscope_capture_v1_grant(capture_, credits);
    credits_ += static_cast<int>(credits);
    control_->flush();
}

void CaptureClient::release(const std::vector<uint32_t>& serials) {
    {
        // Keeps release and grant of other threads apart from detach().
        std::lock_guard lock(mutex_);
        for (uint32_t serial : serials) {
            send_release_fences(serial);
            stepscope_capture_v1_release(capture_, serial);
        }
        if (granting_) {
            stepscope_capture_v1_grant(capture_, static_cast<uint32_t>(serials.size()));
            credits_ += static_cast<int>(serials.size());
        }
    }
    control_->flush();
    if (waking_) {
        control_->wake();
    }
}

GstPtr<GstStepscopeFence> CaptureClient::take_fence(const FrameInfo& info) {
    UniqueFd acquire = std::exchange(pending_fence_, UniqueFd());
    auto memory = slot_memory_.find(info.slot);
    if (!acquire && (memory == slot_memory_.end() || memory->second != MemoryKind::dmabuf)) {
        return nullptr;  // only CPUs read it
    }
    GstPtr<GstStepscopeFence> fence(gst_stepscope_fence_new(acquire.take()));
    std::lock_guard lock(mutex_);
    fences_[info.serial].reset(gst_stepscope_fence_ref(fence.get()));
    return fence;
}

void CaptureClient::send_release_fences(uint32_t serial) {
    auto found = fences_.find(serial);
    if (found == fences_.end()) {
        return;
    }
    gsize count = 0;
    const std::unique_ptr<gint[], decltype(&g_free)> fds(
        gst_stepscope_fence_take_release_fds(found->second.get(), &count), g_free);
    fences_.erase(found);
    for (const gint raw : std::span(fds.get(), count)) {
        const UniqueFd fence(raw);
        if (stepscope_capture_v1_get_version(capture_) >=
            STEPSCOPE_CAPTURE_V1_ADD_RELEASE_FENCE_SINCE_VERSION) {
            stepscope_capture_v1_add_release_fence(capture_, serial, fence.get());
        }
    }
}

void CaptureClient::set_formats(const std::vector<DrmFormat>& formats) {
    if (formats == formats_ || stepscope_capture_v1_get_version(capture_) <
                                   STEPSCOPE_CAPTURE_V1_SET_FORMATS_SINCE_VERSION) {
        return;
    }
    formats_ = formats;
    std::vector<uint32_t> numbers;
    for (const DrmFormat& format : formats | std::views::take(kMaxFormats)) {
        numbers.insert(numbers.end(), {format.fourcc, static_cast<uint32_t>(format.modifier >> 32),
                                       static_cast<uint32_t>(format.modifier)});
    }
    wl_array array{.size = numbers.size() * sizeof(uint32_t), .alloc = 0, .data = numbers.data()};
    stepscope_capture_v1_set_formats(capture_, &array);
    control_->flush();
}

void CaptureClient::detach() {
    {
        std::lock_guard lock(mutex_);
        granting_ = false;
    }
    handler_ = nullptr;
    stepscope_capture_v1_stop(capture_);
    // A compositor that does not answer keeps what it sent; nothing can be done about that here.
    static_cast<void>(control_->roundtrip(kDetachTimeout));
}

void CaptureClient::broken(const std::string& what) {
    control_->fail_with({Fault::protocol,
                         std::format("the compositor of session '{}' (pid {}) sent {}",
                                     control_->name(), control_->pid(), what),
                         0});
}

}  // namespace stepscope
