// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "picture_drawing.hpp"
#include "pipewire_buffer.hpp"
#include "pipewire_format.hpp"

namespace stepscope {

/**
 * The memories of a PipeWire stream. PipeWire fixes them when the stream is negotiated: those that
 * pictures were seen in, each under its own descriptor, and a few of our own to draw into.
 */
class PipewirePool {
public:
    /** All borrowed. `timeline_device` is -1 where there are no timelines. `returned` is called
     * when memory went back. */
    PipewirePool(wl_event_loop* loop, const PipewireBuffer::Owners& owners,
                 const PictureDrawing& drawing, int timeline_device,
                 std::function<void()> returned);
    PipewirePool(const PipewirePool&) = delete;
    PipewirePool& operator=(const PipewirePool&) = delete;
    ~PipewirePool();

    /** What the stream's next buffers are to be, and so what to ask PipeWire for. */
    BufferLayout plan(const VideoFormat& format, std::vector<wlr_buffer*> memories);

    void add(pw_buffer* buffer);
    /**
     * `consumers_stay`: who has the picture may go on reading it for a while, although PipeWire
     * took the buffer away.
     */
    void remove(pw_buffer* buffer, bool consumers_stay);
    /** Gives everything back. */
    void clear();

    /** Of a memory that consumers get as it is; null if the stream has no such. */
    PipewireBuffer* find(const wlr_buffer* memory);
    /** One of our own that is free. */
    PipewireBuffer* find_free();
    bool any_out() const;
    /** Whether consumers and we tell each other of fences by timelines. */
    bool has_timelines() const;

    void send(PipewireBuffer& buffer, uint64_t picture) { buffer.send(picture, owners_); }
    /** Takes back what consumers are done with; see PipewireBuffer::take_back(). */
    void collect(pw_stream* stream, uint64_t over);

private:
    /** Memory of a game's that is kept from it. */
    struct Kept {
        wlr_buffer* buffer;
        uint64_t picture;
        int64_t until_ns;
    };

    static int handle_kept(void* data);
    void give_back(wlr_buffer* hold);
    void arm_kept();

    PipewireBuffer::Owners owners_;
    const PictureDrawing& drawing_;
    int timeline_device_;
    std::function<void()> returned_;
    VideoFormat format_;
    std::vector<wlr_buffer*> to_assign_;  // to the stream's next buffers, in this order
    std::vector<OwnPicture> own_;         // and then these
    std::vector<std::unique_ptr<PipewireBuffer>> buffers_;
    std::list<Kept> kept_;  // in the order of their time
    EventSource kept_timer_;
};

}  // namespace stepscope
