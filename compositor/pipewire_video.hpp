// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/unique_fd.hpp"
#include "capture.hpp"
#include "capture_output.hpp"
#include "picture_drawing.hpp"
#include "pipewire_connection.hpp"
#include "pipewire_format.hpp"

namespace stepscope {

/**
 * The session's pictures as a PipeWire video source.
 *
 * PipeWire fixes the memory of a stream when it is negotiated. So the stream's buffers are the
 * memories that the game (and the compositor's ring) were seen to use, each under its own
 * descriptor, and a few of our own for what they can't hold: a picture of another size or format,
 * or one in memory that appeared later. That is copied, and the stream is negotiated anew soon.
 *
 * The node drives its graph: one cycle for each picture.
 */
class PipewireVideo final : public FrameSink {
public:
    struct Names {
        std::string node;
        std::string session;
        std::string description;
    };

    PipewireVideo(wl_event_loop* loop, Names names, CaptureOutput& output, BufferLending& lending,
                  const Renderer& renderer, std::function<void()> changed);
    PipewireVideo(const PipewireVideo&) = delete;
    PipewireVideo& operator=(const PipewireVideo&) = delete;
    ~PipewireVideo() override;

    /** Makes the node; disconnect() before the core goes. */
    void connect(pw_core* core);
    void disconnect();
    /** PipeWire's object.serial; 0 until the daemon has made the node. */
    uint64_t serial() const { return serial_; }

    void handle_frame(const CapturedFrame& frame) override;
    void handle_lost_frame() override;

private:
    /** One memory of the stream's. */
    struct Buffer {
        pw_buffer* pw = nullptr;
        /** Null once the game has destroyed it. */
        wlr_buffer* memory = nullptr;
        OwnPicture own;
        std::vector<UniqueFd> fds;
        bool home = false;   // with us; else PipeWire has it
        bool out = false;    // consumers have it, or may still come to it
        bool held = false;   // lent: the game must not draw into it
        bool taken = false;  // a consumer was seen to use it
        uint64_t picture = 0;
        Listener destroyed;
    };
    struct Known {
        Listener destroyed;
    };

    static void handle_state(void* data, pw_stream_state old, pw_stream_state state,
                             const char* error);
    static void handle_io(void* data, uint32_t id, void* area, uint32_t size);
    static void handle_parameter(void* data, uint32_t id, const spa_pod* parameter);
    static void handle_add_buffer(void* data, pw_buffer* buffer);
    static void handle_remove_buffer(void* data, pw_buffer* buffer);
    static void handle_cycle_end(void* data);
    static int handle_poll(void* data);
    static int handle_due(void* data);
    static void handle_idle(void* data);
    static const pw_stream_events kEvents;

    VideoOffer offer() const;
    void announce_formats();
    void take_format(const VideoFormat& format);
    bool passes(const FrameMemory& memory) const;
    void note_memory(const CapturedFrame& frame);
    void renegotiate_later();
    void note_starved();
    bool too_early(int64_t time_ns);
    void deliver(const CapturedFrame& frame);
    Buffer* find_memory(const wlr_buffer* memory);
    Buffer* find_own();
    void describe(Buffer& buffer);
    void set_clock();
    void trigger(int64_t time_ns);
    void close_cycle();
    void collect();
    void release(Buffer& buffer);
    void arm_poll(bool again);

    wl_event_loop* loop_;
    Names names_;
    CaptureOutput& output_;
    BufferLending& lending_;
    PictureDrawing drawing_;
    PwHandle<pw_stream, pw_stream_destroy> stream_;
    PwHook hook_;
    std::function<void()> changed_;
    uint64_t serial_ = 0;
    bool streaming_ = false;
    spa_io_position* position_ = nullptr;  // PipeWire's, while there is one

    FrameMemory native_{};
    std::map<wlr_buffer*, std::unique_ptr<Known>> known_;
    std::optional<VideoFormat> format_;
    std::vector<wlr_buffer*> to_assign_;  // to the stream's next buffers, in this order
    std::vector<std::unique_ptr<Buffer>> buffers_;

    bool behind_ = false;         // consumers have not seen what the output shows
    bool renegotiating_ = false;  // for new memory: the consumers stay
    bool discontinuity_ = true;
    bool whole_ = true;  // what the next picture changes is not known
    uint64_t sent_commit_ = 0;
    uint64_t seen_commit_ = 0;
    int64_t shown_ns_ = 0;  // when that picture was shown first
    uint64_t sequence_ = 0;
    int64_t due_ns_ = 0;
    uint64_t picture_ = 0;       // sent last
    uint64_t picture_done_ = 0;  // its cycle is over
    bool cycle_open_ = false;
    int64_t cycle_since_ns_ = 0;
    int poll_ms_ = 0;
    int64_t starved_since_ns_ = 0;   // 0: there was a buffer for the last picture
    int64_t renegotiate_at_ns_ = 0;  // 0: not wanted
    wl_event_source* idle_ = nullptr;
    EventSource poll_timer_;
    EventSource due_timer_;
    Region damage_;
};

}  // namespace stepscope
