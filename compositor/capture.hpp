// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "buffer_lending.hpp"
#include "buffer_returns.hpp"
#include "captured_frame.hpp"
#include "consumer_formats.hpp"
#include "listener.hpp"

namespace stepscope {

class CaptureOutput;

/** A pixman region that frees itself. */
class Region {
public:
    Region() { pixman_region32_init(&region_); }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;
    ~Region() { pixman_region32_fini(&region_); }
    pixman_region32_t* get() { return &region_; }
    void add(const pixman_region32_t* other) { pixman_region32_union(&region_, &region_, other); }
    void clear() { pixman_region32_clear(&region_); }

private:
    pixman_region32_t region_;
};

/**
 * One consumer's stream of frames: its slots, its credits, and the buffers that it holds. Lives as
 * long as its stepscope_capture_v1 object.
 */
class Capture {
public:
    struct Hooks {
        /** The protocol object went; to destroy this. */
        std::function<void(Capture*)> ended;
        /** formats() changed. */
        std::function<void()> formats_changed;
    };

    Capture(wl_client* client, uint32_t version, uint32_t id, CaptureOutput& output,
            BufferLending& lending, BufferReturns& returns, Hooks hooks);
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    /** Gives back everything that the consumer held. */
    ~Capture();

    /** The protocol object; null if the client had no memory for it (it is told). */
    wl_resource* resource() const { return resource_; }
    /** What the consumer can read; none if it did not say. */
    const std::optional<std::vector<PictureLayout>>& formats() const { return formats_; }
    void handle_frame(const CapturedFrame& frame);
    void handle_lost_frame();

private:
    struct Slot {
        uint32_t id = 0;
        Listener destroyed;
    };
    struct Held {
        wlr_buffer* buffer;  // locked
        std::optional<SyncFile> fence;
    };

    static Capture* self_of(wl_resource* resource);
    static void handle_destroy_request(wl_client* client, wl_resource* resource);
    static void handle_set_cursor(wl_client* client, wl_resource* resource, uint32_t mode);
    static void handle_start(wl_client* client, wl_resource* resource);
    static void handle_stop(wl_client* client, wl_resource* resource);
    static void handle_grant(wl_client* client, wl_resource* resource, uint32_t credits);
    static void handle_release(wl_client* client, wl_resource* resource, uint32_t serial);
    static void handle_add_release_fence(wl_client* client, wl_resource* resource, uint32_t serial,
                                         int32_t fence);
    static void handle_set_formats(wl_client* client, wl_resource* resource, wl_array* formats);
    static const struct stepscope_capture_v1_interface kRequests;

    void send_format(const FrameMemory& memory);
    uint32_t announce_slot(const CapturedFrame& frame);
    void send_frame(const CapturedFrame& frame);
    void send_fence(const CapturedFrame& frame);
    void set_embedded_cursor(bool embedded);

    wl_resource* resource_;
    CaptureOutput& output_;
    BufferLending& lending_;
    BufferReturns& returns_;
    Hooks hooks_;
    std::optional<std::vector<PictureLayout>> formats_;
    bool started_ = false;
    bool embedded_cursor_ = false;
    uint32_t credits_ = 0;
    uint32_t next_slot_ = 1;
    uint32_t next_serial_ = 1;
    /** The consumer has not seen the picture that is on the output now. */
    bool behind_ = false;
    bool first_ = true;
    uint32_t dropped_ = 0;
    uint64_t sent_commit_ = 0;
    uint64_t seen_commit_ = 0;
    FrameMemory format_{};
    Region damage_;
    std::map<wlr_buffer*, std::unique_ptr<Slot>> slots_;
    std::map<uint32_t, Held> held_;
};

}  // namespace stepscope
