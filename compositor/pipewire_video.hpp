// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>

#include "buffer_fences.hpp"
#include "capture.hpp"
#include "capture_output.hpp"
#include "picture_drawing.hpp"
#include "picture_limit.hpp"
#include "picture_offer.hpp"
#include "pipewire_connection.hpp"
#include "pipewire_counts.hpp"
#include "pipewire_cycle.hpp"
#include "pipewire_format.hpp"
#include "pipewire_pool.hpp"
#include "pipewire_registry.hpp"
#include "pipewire_session.hpp"

namespace stepscope {

/**
 * The session's pictures as a PipeWire video source: as they are and as its first consumer wants
 * them, or as one demand wants them.
 *
 * PipeWire fixes the memory of a stream when it is negotiated. So the stream's buffers are the
 * memories that the game (and the compositor's ring) were seen to use, and a few of our own for
 * what they can't hold: a picture of another size or format, or one in memory that appeared later.
 * That is copied, and the stream is negotiated anew soon.
 *
 * The node drives its graph: one cycle for each picture.
 */
class PipewireVideo final : public FrameSink {
public:
    struct Settings {
        std::string node;
        std::string session;
        std::string description;
        /** Of this node alone; else the first consumer's wishes count. */
        std::optional<PictureDemand> demand = std::nullopt;
    };

    /** The registry is borrowed, and of the same connection. */
    PipewireVideo(wl_event_loop* loop, Settings settings, const PictureServices& services,
                  PipewireRegistry& registry, std::function<void()> changed);
    PipewireVideo(const PipewireVideo&) = delete;
    PipewireVideo& operator=(const PipewireVideo&) = delete;
    ~PipewireVideo() override;

    /** Makes the node; disconnect() before the core goes. */
    void connect(pw_core* core);
    void disconnect();
    /** PipeWire's object.serial; 0 until the daemon has made the node. */
    uint64_t serial() const { return serial_; }
    const std::string& name() const { return settings_.node; }
    /** Whether anybody is linked. */
    bool linked() const;

    void handle_frame(const CapturedFrame& frame) override;
    void handle_lost_frame() override;

private:
    /** A picture that consumers can't wait for themselves, until it is drawn. */
    struct Undrawn {
        CapturedFrame frame;  // its buffer is locked and lent
        int64_t shown_ns;
        uint64_t sequence;
        Region damage;
        std::unique_ptr<FenceWait> wait;
    };

    static void handle_state(void* data, pw_stream_state old, pw_stream_state state,
                             const char* error);
    static void handle_io(void* data, uint32_t id, void* area, uint32_t size);
    static void handle_parameter(void* data, uint32_t id, const spa_pod* parameter);
    static void handle_add_buffer(void* data, pw_buffer* buffer);
    static void handle_remove_buffer(void* data, pw_buffer* buffer);
    static void handle_command(void* data, const spa_command* command);
    static void handle_cycle_end(void* data);
    static int handle_poll(void* data);
    static int handle_due(void* data);
    static void handle_idle(void* data);
    static const pw_stream_events kEvents;

    void announce_formats(const std::optional<VideoFormat>& fixed = std::nullopt);
    void choose_modifier(const VideoFormat& format);
    void take_format(const VideoFormat& format);
    void note_starved();
    bool must_wait(int64_t time_ns);
    bool too_early(int64_t time_ns);
    void show(const CapturedFrame& frame);
    PipewireBuffer* place_for(const CapturedFrame& frame);
    bool deliver(const CapturedFrame& frame, PipewireBuffer& target, int64_t shown_ns,
                 uint64_t sequence, Region& damage);
    void wait_for(const CapturedFrame& frame);
    void handle_drawn();
    void drop_undrawn();
    void collect();
    void arm_poll(bool again);

    wl_event_loop* loop_;
    Settings settings_;
    PictureServices services_;
    CaptureOutput& output_;
    PictureDrawing drawing_;
    PipewirePool pool_;
    PipewireRegistry& registry_;
    PwHandle<pw_stream, pw_stream_destroy> stream_;
    PwHook hook_;
    std::function<void()> changed_;
    uint64_t serial_ = 0;
    bool streaming_ = false;
    bool exclusive_ = false;  // as PipeWire was told

    PictureOffer offer_;
    PipewireCycle cycle_;
    PictureLimit limit_;
    PipewireCounts counts_;
    std::optional<VideoFormat> format_;
    std::unique_ptr<Undrawn> undrawn_;

    bool behind_ = false;         // consumers have not seen what the output shows
    bool renegotiating_ = false;  // for new memory: the consumers stay
    bool requested_ = false;      // by a consumer that gets pictures on request alone
    bool discontinuity_ = true;
    bool whole_ = true;  // what the next picture changes is not known
    uint64_t sent_commit_ = 0;
    uint64_t seen_commit_ = 0;
    int64_t shown_ns_ = 0;  // when that picture was shown first
    uint64_t sequence_ = 0;
    int poll_ms_ = 0;
    int64_t starved_since_ns_ = 0;   // 0: there was a buffer for the last picture
    int64_t renegotiate_at_ns_ = 0;  // 0: not wanted
    bool must_renegotiate_ = false;  // also where several consumers have to answer
    wl_event_source* idle_ = nullptr;
    EventSource poll_timer_;
    EventSource due_timer_;
    Region damage_;
};

}  // namespace stepscope
