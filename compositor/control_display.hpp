// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>

#include "base/error.hpp"
#include "base/refresh_rate.hpp"
#include "base/unique_fd.hpp"
#include "capture.hpp"
#include "gamepads.hpp"
#include "listener.hpp"
#include "pipewire_requests.hpp"
#include "pipewire_session.hpp"
#include "stepped_sound.hpp"
#include "stepper.hpp"

namespace stepscope {

/** What clients of the control display are told about the session. */
struct SessionState {
    std::string name;
    std::string renderer;
    std::string device;
    bool dmabufs = false;
    std::string title;
    std::string app_id;
    std::string backend;
    pid_t window_pid = 0;
};

/**
 * The trusted side of the session: accepts clients at the control socket, shows them, and nobody
 * else, the globals for capture and input, and speaks the control protocol with them.
 */
class ControlDisplay final : public FrameSink {
public:
    struct Hooks {
        /** Asked for by a client; zero keeps size or rate. Values are valid. */
        std::function<void(unsigned width, unsigned height, RefreshRate rate)> set_output;
        std::function<void()> terminate;
        /** Make the pictures a PipeWire node; empty where this build can't. */
        std::function<void()> offer_pipewire;
        PipewireRequests::Hooks pipewire_nodes;
    };

    ControlDisplay(wl_display* display, CaptureOutput& output, BufferLending& lending,
                   BufferReturns& returns, SessionState state, Hooks hooks);
    ~ControlDisplay() override;

    /** Starts to listen. Only processes of this user are accepted. */
    Result<void> listen(const std::string& path);
    /** Lets clients step the session, one at a time; `left` is called when it goes. Borrowed. */
    void offer_stepping(LockStep& lock_step, std::function<void()> left) {
        stepper_.emplace(lock_step, std::move(left));
    }
    /** Whether a client has the session's time in hand. */
    bool stepped() const { return stepper_ && stepper_->taken(); }
    /** Lets clients have the game's sound. Borrowed. */
    void offer_sound(SteppedSound& sound) { sound_ = &sound; }
    /** Lets clients hold the session's gamepads. Borrowed. */
    void offer_gamepads(Gamepads& gamepads) { gamepads_ = &gamepads; }
    /** Hides a global from the game's display. */
    void make_private(const wl_global* global) { private_globals_.insert(global); }

    void handle_frame(const CapturedFrame& frame) override;
    void handle_lost_frame() override;
    void handle_output_changed();
    void handle_window_changed(const std::string& title, const std::string& app_id,
                               const std::string& backend, pid_t pid);
    /** Tells those who asked for them. */
    void handle_pipewire_changed(const PipewireNodes& nodes);
    void handle_ended(stepscope_session_v1_end how, uint32_t value);

private:
    struct Client;

    static int handle_connection(int fd, uint32_t mask, void* data);
    static bool filter(const wl_client* client, const wl_global* global, void* data);
    static void bind(wl_client* client, void* data, uint32_t version, uint32_t id);
    static void create_session(wl_client* client, wl_resource* resource, uint32_t id);
    static void create_capture(wl_client* client, wl_resource* resource, uint32_t id);
    static void get_stepper(wl_client* client, wl_resource* resource, uint32_t id);
    static void get_sound(wl_client* client, wl_resource* resource, uint32_t id);
    static void get_gamepad(wl_client* client, wl_resource* resource, uint32_t id, uint32_t number);
    static void set_output(wl_client* client, wl_resource* resource, uint32_t width,
                           uint32_t height, uint32_t numerator, uint32_t denominator);
    static void terminate(wl_client* client, wl_resource* resource);
    static void offer_pipewire(wl_client* client, wl_resource* resource);
    static void create_pipewire_node(wl_client* client, wl_resource* resource, uint32_t id,
                                     uint32_t width, uint32_t height, uint32_t numerator,
                                     uint32_t denominator);
    static const struct stepscope_control_v1_interface kControlRequests;
    static const struct stepscope_session_v1_interface kSessionRequests;

    uint32_t gamepad_count() const;
    void accept_client();
    void send_output(wl_resource* session) const;
    void update_formats();
    void send_window(wl_resource* session) const;

    wl_display* display_;
    CaptureOutput& output_;
    BufferLending& lending_;
    BufferReturns& returns_;
    SessionState state_;
    Hooks hooks_;
    UniqueFd socket_;
    EventSource accept_source_;
    std::set<const wl_global*> private_globals_;
    std::list<std::unique_ptr<Client>> clients_;
    std::list<std::unique_ptr<Capture>> captures_;
    std::set<wl_resource*> sessions_;
    std::set<wl_resource*> pipewire_watchers_;  // of those
    PipewireRequests pipewire_requests_;
    std::optional<Stepper> stepper_;
    SteppedSound* sound_ = nullptr;  // may be null
    Gamepads* gamepads_ = nullptr;
    wl_global* global_;
};

}  // namespace stepscope
