// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "capture_buffers.hpp"
#include "copy_fences.hpp"
#include "display_connection.hpp"
#include "output_capture.hpp"
#include "picture_source.hpp"

namespace stepscope {

/** The pictures of one output of any compositor, which copies them into memory of ours. */
class DisplaySource final : public PictureSource, private OutputCaptureHandler {
public:
    struct Settings {
        std::string display;  // name of a socket, or its path
        std::string output;   // empty: the only one
        std::optional<PictureArea> region;
        CursorMode cursor = CursorMode::hidden;
        uint32_t max_buffers = 4;
    };

    /** Waits until the compositor named its formats. `stats` must outlive the source. */
    static Result<std::shared_ptr<DisplaySource>> connect(const Settings& settings,
                                                          CaptureStats& stats);
    ~DisplaySource() override;

    void start() override { started_ = true; }
    Result<void> wait(std::optional<Clock::time_point> deadline) override;
    void wake() const override { display_->connection().wake(); }
    std::optional<CapturedFrame> take_oldest() override { return frames_.take_oldest(); }
    std::optional<CapturedFrame> take_newest() override { return frames_.take_newest(); }
    void keep_newest() override { frames_.keep_newest(); }
    void add_credit() override { ++slot_limit_; }
    void set_cursor(CursorMode mode) override;
    std::string name() const override;
    std::pair<uint32_t, uint32_t> size() const override;
    RefreshRate refresh() const override { return refresh_; }
    std::optional<SessionEnd> end() const override;
    std::vector<PictureFormat> formats() const override;
    Result<void> choose(const PictureFormat& format) override;
    void use_memory(const MemoryProposal& proposal) override;
    std::string own_memory_reason() const override { return own_memory_reason_; }
    std::string device() const override;
    Result<void> resize(uint32_t width, uint32_t height) override;
    Result<void> inject(InputActions actions, uint32_t width, uint32_t height) override;

private:
    /** One of the formats, as we announce it and as the compositor named it. */
    struct Choice {
        PictureFormat format;
        BufferRequest request;
    };
    /** Tells memory of a pool apart, whatever objects it comes in. */
    struct PlaneIdentity {
        ino_t inode = 0;
        uint32_t offset = 0;
        uint32_t stride = 0;
        bool operator==(const PlaneIdentity&) const = default;
    };
    struct Slot {
        WlPtr<wl_buffer> buffer;
        std::shared_ptr<SlotMemory> memory;  // null: downstream's
        CopyFences fences;
        unsigned generation = 0;
        size_t imports = 0;  // still to be counted
        bool free = true;    // of downstream's memory: here or in the pool
        // Of downstream's memory:
        std::vector<PlaneIdentity> identity;
        std::optional<DownstreamMemory::Picture> picture;  // while it is here
    };
    /** Where slots come back to from any thread; outlives the source. */
    struct Returns {
        std::mutex mutex;
        std::vector<uint32_t> slots;
        const DisplaySource* source = nullptr;  // null once it is gone

        void give_back(uint32_t slot) {
            std::lock_guard lock(mutex);
            slots.push_back(slot);
            if (source != nullptr) {
                source->wake();
            }
        }
    };

    DisplaySource(std::unique_ptr<DisplayConnection> display, const DisplayOutput& output,
                  const Settings& settings, CaptureStats& stats);

    void handle_constraints(const CaptureConstraints& constraints) override;
    void handle_copied(CopiedPicture picture) override;
    void handle_failed() override;
    void handle_stopped() override { stopped_ = true; }

    void begin_capture();
    std::vector<Choice> choices_for(const CaptureConstraints& constraints) const;
    Result<void> take_constraints(const CaptureConstraints& constraints);
    Result<void> use(const Choice& choice);
    Result<uint32_t> make_slot(const Choice& choice);
    void drop_slots();
    void drop_old_slots();
    void take_returned();
    Result<void> pump();
    Result<std::optional<uint32_t>> find_slot(const Choice& choice);
    Result<std::optional<uint32_t>> find_own_slot(const Choice& choice);
    Result<std::optional<uint32_t>> find_downstream_slot();
    Result<void> begin_downstream(const MemoryProposal& proposal);
    Result<uint32_t> slot_of(DownstreamMemory::Picture picture);
    void end_downstream(const std::string& reason);
    void give_memory(CapturedFrame& frame, uint32_t number, Slot& slot);
    std::optional<Damage> damage_within(const CopiedPicture& picture,
                                        const PictureArea& area) const;

    const std::unique_ptr<DisplayConnection> display_;
    const DisplayOutput& output_;
    const std::string output_name_;
    const RefreshRate refresh_;
    const std::optional<PictureArea> region_;
    CaptureStats& stats_;
    std::atomic<CursorMode> cursor_;
    const std::shared_ptr<Returns> returns_;

    mutable std::mutex mutex_;     // guards the next three
    std::string device_;           // of what is chosen
    std::vector<Choice> choices_;  // best first
    std::pair<uint32_t, uint32_t> size_{0, 0};
    std::atomic<bool> stopped_ = false;

    // Of the dispatching thread:
    CaptureBuffers buffers_;
    std::unique_ptr<OutputCapture> capture_;
    CursorMode shown_cursor_ = CursorMode::hidden;
    std::optional<CaptureConstraints> new_constraints_;
    bool started_ = false;
    std::optional<Choice> chosen_;
    std::vector<std::pair<uint32_t, uint64_t>> dmabuf_formats_;  // the compositor's
    std::unique_ptr<DownstreamMemory> downstream_;               // null: memory of ours
    BufferRequest downstream_request_;
    unsigned generation_ = 0;  // of slots: changes with whose memory it is
    std::string own_memory_reason_;
    uint32_t slot_limit_;
    uint32_t next_slot_ = 1;
    uint32_t next_serial_ = 1;
    uint64_t next_picture_ = 1;
    std::map<uint32_t, Slot> slots_;
    std::optional<uint32_t> copying_;  // the slot that is being copied into
    FrameQueue frames_{stats_};
    unsigned failures_ = 0;  // in a row
    std::optional<Clock::time_point> retry_at_;
    std::optional<Clock::time_point> look_again_at_;  // for a slot that is still read
};

}  // namespace stepscope
