// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "control_client.hpp"
#include "damage.hpp"
#include "gst/slot_memory.hpp"

namespace stepscope {

enum class CursorMode : uint32_t { hidden = 0, embedded = 1 };

/** The values of the protocol's enums; unknown ones are kept as they come. */
enum class FramePath : uint32_t { passed_through = 1, composed = 2, copied = 3 };
enum class FrameReason : uint32_t {
    none = 0,
    windows = 1,
    size = 2,
    cursor = 3,
    not_shareable = 4,
    held = 5,
    format = 6,
    no_window = 7,
    other = 8,
    screencopy = 100,  // not of the protocol: another compositor was captured
};

/** A frame event. */
struct FrameInfo {
    uint32_t slot = 0;
    uint32_t serial = 0;
    uint64_t commit = 0;
    uint64_t time_ns = 0;  // CLOCK_MONOTONIC
    FramePath path = FramePath::copied;
    FrameReason reason = FrameReason::none;
    bool first = false;
    uint32_t dropped = 0;
    uint64_t step = 0;  // of the session, from 1; 0 outside of lock-step
    uint64_t virtual_time_ns = 0;
    Damage damage;
    uint64_t damage_since = 0;  // the picture that it is relative to; 0: unknown
};

/** For when `dropped`, the frame before `next`, is given up: its damage counts for `next`. */
void absorb_damage(FrameInfo& next, const FrameInfo& dropped);

/** What a capture tells its user, on the thread that dispatches. */
class CaptureHandler {
public:
    virtual ~CaptureHandler() = default;
    virtual Result<void> handle_slot(uint32_t slot, const PictureFormat& format,
                                     std::vector<SlotPlane> planes) = 0;
    virtual void handle_slot_gone(uint32_t slot) = 0;
    /** `fence` is null for memory that needs none. */
    virtual Result<void> handle_frame(const FrameInfo& frame, GstPtr<GstStepscopeFence> fence) = 0;
};

/**
 * A capture of a session: requests, and events put together to whole slots and frames. Keeps the
 * connection open for as long as it lives, so that frames that are held stay as they are.
 */
class CaptureClient {
public:
    CaptureClient(std::shared_ptr<ControlClient> control, CaptureHandler& handler);
    ~CaptureClient();
    CaptureClient(const CaptureClient&) = delete;
    CaptureClient& operator=(const CaptureClient&) = delete;

    /** Any thread. */
    void set_cursor(CursorMode mode);
    void grant(uint32_t credits);
    /**
     * Releases frames, with the release fences that consumers left, and grants, until detach(), a
     * credit for each. Any thread; never blocks.
     */
    void release(const std::vector<uint32_t>& serials);
    /** Says what downstream can read; empty: anything. The dispatching thread. */
    void set_formats(const std::vector<DrmFormat>& formats);
    /** Frames that may still come. Any thread. */
    int credits() const { return credits_; }
    /** From now on a release() on any thread ends the wait for events. */
    void wake_on_release() { waking_ = true; }

    void start();

    /**
     * Stops the stream and tells its handler nothing more; frames still on their way are released.
     * What is held stays held. Waits for the compositor, but not for long. The dispatching thread.
     */
    void detach();

private:
    struct Listeners;
    struct PendingSlot {
        uint32_t slot = 0;
        MemoryKind memory = MemoryKind::memfd;
        std::vector<SlotPlane> planes;
    };

    void broken(const std::string& what);
    PictureArea picture() const { return {0, 0, format_.width, format_.height}; }
    GstPtr<GstStepscopeFence> take_fence(const FrameInfo& info);
    void send_release_fences(uint32_t serial);

    const std::shared_ptr<ControlClient> control_;
    stepscope_capture_v1* capture_;
    std::mutex mutex_;
    // Guarded by mutex_:
    bool granting_ = true;
    std::map<uint32_t, GstPtr<GstStepscopeFence>> fences_;  // of frames that are held
    std::atomic<int> credits_ = 0;
    std::atomic<bool> waking_ = false;

    // Of the dispatching thread:
    CaptureHandler* handler_;
    bool format_known_ = false;
    PictureFormat format_;
    std::optional<PendingSlot> pending_slot_;
    UniqueFd pending_fence_;
    std::map<uint32_t, MemoryKind> slot_memory_;
    std::vector<DrmFormat> formats_;
    std::pair<uint64_t, uint64_t> pending_step_{0, 0};
    Damage pending_damage_;
    uint64_t last_commit_ = 0;
};

}  // namespace stepscope
