// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-server-core.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/session_registry.hpp"
#include "server_thread.hpp"

namespace stepscope::test {

/** What a slot of the fake is made of; values that a real compositor would not send included. */
struct FakeSlot {
    unsigned planes = 1;
    uint32_t memory = 1;  // of the protocol's enum
    uint32_t offset = 0;
    uint32_t plane_step = 0;  // what each plane's offset is beyond the one before
    uint32_t stride = 0;      // 0: as the width needs
    uint64_t file_size = 0;   // 0: as the planes need
    bool sealed = true;
};

struct FakeFrame {
    uint32_t path = 1;
    uint32_t reason = 0;
    uint32_t dropped = 0;
    uint64_t time_ns = 0;  // 0: now
    int pixel = -1;        // fills the memory with this byte; -1 leaves it
};

struct FakeStep {
    uint32_t sequence = 0;
    uint64_t length_ns = 0;
    uint32_t timeout_ms = 0;
};

/**
 * A control display in a thread of this process that does what a test tells it. It keeps the
 * protocol's books: credits, held frames, and every request in order.
 */
class FakeCompositor {
public:
    explicit FakeCompositor(const std::string& name = "game", uint32_t width = 64,
                            uint32_t height = 48);
    ~FakeCompositor();
    FakeCompositor(const FakeCompositor&) = delete;
    FakeCompositor& operator=(const FakeCompositor&) = delete;

    /** Runs `function` on the display's thread and waits for it. */
    void run(const std::function<void()>& function) { server_.run(function); }

    /** Speaks version 4 of the protocol from now on, with so many gamepads. Before a client is
     * there. */
    void offer_gamepads(uint32_t count);

    /** Stops answering; connections stay open. Undone by the destructor. */
    void freeze() { server_.freeze(); }
    /** Closes all connections as a killed process would. */
    void kill_clients();

    // The rest is for the display's thread, inside of run(), or before a client is there.
    uint32_t width;
    uint32_t height;
    uint32_t refresh_numerator = 60;
    uint32_t refresh_denominator = 1;
    uint32_t fourcc;
    uint64_t modifier = 0;
    bool obey_size = true;  // set_output changes the size
    FakeSlot slot_template;
    bool lockstep = false;       // offer steps
    bool stepper_taken = false;  // by somebody else
    /** Answers steps: with a frame, or with no_commit for none. Unset: answer_step() does. */
    std::function<std::optional<FakeFrame>()> play_step;

    bool has_capture() const { return capture_ != nullptr; }
    bool started() const { return started_; }
    uint32_t credits() const { return credits_; }
    size_t held() const { return held_.size(); }
    unsigned releases() const { return releases_; }
    unsigned bad_releases() const { return bad_releases_; }
    unsigned clients() const { return clients_; }
    uint32_t cursor() const { return cursor_; }
    std::vector<std::string> log;  // input requests and "step"

    /** Sends format if it changed, and a frame in a free slot (made if there is none). */
    bool send_frame(const FakeFrame& frame = {});
    /** The same, in this slot. */
    void send_frame_in(uint32_t slot, const FakeFrame& frame = {});
    uint32_t add_slot();
    void remove_slot(uint32_t slot);
    size_t slots() const { return slots_.size(); }
    void fill(uint32_t slot, int pixel);
    bool is_held(uint32_t slot) const;
    void send_ended(uint32_t how, uint32_t value);
    void send_output();
    wl_resource* capture() const { return capture_; }
    bool has_stepper() const { return stepper_ != nullptr; }
    bool step_open() const { return open_step_.has_value(); }
    const std::vector<FakeStep>& steps() const { return steps_; }
    /** Ends the open step with a status of the protocol's enum. */
    void answer_step(uint32_t status, const char* message = "");
    wl_resource* stepper() const { return stepper_; }

    /** Waits, for some seconds, until the condition holds on the display's thread. */
    bool wait_until(const std::function<bool()>& condition) {
        return server_.wait_until(condition);
    }

private:
    struct Impl;
    struct Slot {
        UniqueFd fd;
        size_t size = 0;
        uint32_t width = 0;
        uint32_t height = 0;
    };

    void send_format();

    SessionDirectory directory_;
    ServerThread server_;
    wl_display* const display_;
    wl_global* control_ = nullptr;
    uint32_t gamepads_ = 0;
    wl_resource* session_ = nullptr;
    wl_resource* capture_ = nullptr;
    wl_resource* stepper_ = nullptr;
    std::vector<FakeStep> steps_;
    std::optional<FakeStep> open_step_;
    uint64_t virtual_ns_ = 0;
    bool started_ = false;
    bool format_sent_ = false;
    uint32_t sent_width_ = 0;
    uint32_t sent_height_ = 0;
    uint32_t credits_ = 0;
    uint32_t cursor_ = 0;
    uint32_t next_slot_ = 1;
    uint32_t next_serial_ = 1;
    uint64_t next_commit_ = 1;
    unsigned releases_ = 0;
    unsigned bad_releases_ = 0;
    unsigned clients_ = 0;
    bool first_ = true;
    std::map<uint32_t, Slot> slots_;
    std::map<uint32_t, uint32_t> held_;  // serial to slot
    wl_listener client_created_{};
};

}  // namespace stepscope::test
