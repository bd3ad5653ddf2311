// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "elements/picture_area.hpp"
#include "server_thread.hpp"

struct wl_resource;

namespace stepscope::test {

/** A finished copy, as the fake tells its client. */
struct FakeCopy {
    int pixel = 0;  // fills the picture with this byte
    std::vector<PictureArea> damage;
    uint64_t time_ns = 0;  // 0: now
    bool upside_down = false;
};

/** Another compositor, in a thread of this process, whose outputs can be captured. */
class FakeDisplay {
public:
    /** What it offers; versions, 0 for none. */
    struct Protocols {
        uint32_t ext = 1;
        uint32_t wlr = 3;
        bool dmabuf = false;
    };

    explicit FakeDisplay(const Protocols& protocols);
    ~FakeDisplay();
    FakeDisplay(const FakeDisplay&) = delete;
    FakeDisplay& operator=(const FakeDisplay&) = delete;

    /** In XDG_RUNTIME_DIR. */
    std::string name() const { return name_; }
    void run(const std::function<void()>& function) { server_.run(function); }
    bool wait_until(const std::function<bool()>& condition) {
        return server_.wait_until(condition);
    }
    void freeze() { server_.freeze(); }
    /** Closes all connections as a killed process would. */
    void kill_clients();

    // The rest is for the display's thread, inside of run(), or before a client is there.
    uint32_t width = 64;
    uint32_t height = 48;
    std::vector<uint32_t> formats;                              // of wl_shm
    std::vector<std::pair<uint32_t, uint64_t>> dmabuf_formats;  // with modifiers (ext)

    /** True while a client waits for a copy. */
    bool copy_wanted() const { return buffer_ != nullptr; }
    /** The DMA-BUF that is waited for; -1 for shared memory. */
    int wanted_dmabuf() const;
    uint32_t wanted_stride() const;  // of the DMA-BUF, in bytes
    unsigned copies_asked() const { return copies_asked_; }
    /** Whether the last copy was asked for with the cursor, and only for a change. */
    bool with_cursor() const { return with_cursor_; }
    bool with_damage() const { return with_damage_; }
    const std::string& used() const { return used_; }  // "ext" or "wlr"
    unsigned clients() const;

    /** Fills the buffer and says that it is ready; false if nobody waits for one. */
    bool copy(const FakeCopy& copy = {});
    /** `reason` is that of the ext protocol: 0 unknown, 1 constraints, 2 stopped. */
    bool fail_copy(uint32_t reason = 0);
    /** Tells the size and formats anew (ext). */
    void send_constraints();
    void stop_session();
    void add_output(const std::string& name);
    void remove_output();

private:
    struct Impl;
    void forget_copy();

    ServerThread server_;
    std::string name_;
    struct Output {
        std::string name;
        wl_global* global = nullptr;
    };
    std::vector<std::unique_ptr<Output>> outputs_;
    wl_resource* session_ = nullptr;
    wl_resource* frame_ = nullptr;
    wl_resource* attached_ = nullptr;  // not yet to be copied into
    wl_resource* buffer_ = nullptr;    // to be copied into
    bool ext_frame_ = false;
    bool session_cursor_ = false;
    bool with_cursor_ = false;
    bool with_damage_ = false;
    unsigned copies_asked_ = 0;
    std::string used_;
};

}  // namespace stepscope::test
