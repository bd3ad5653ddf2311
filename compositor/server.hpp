// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <optional>

#include "base/session_registry.hpp"
#include "buffer_lending.hpp"
#include "capture_output.hpp"
#include "control_display.hpp"
#include "dmabuf_check.hpp"
#include "event_report.hpp"
#include "game_process.hpp"
#include "gamepads.hpp"
#include "options.hpp"
#include "pipewire_on_demand.hpp"
#include "renderer.hpp"
#include "seat.hpp"
#include "session_end.hpp"
#include "window_manager.hpp"
#include "xdg_shell.hpp"
#include "xwayland.hpp"

namespace stepscope {

/** One session: all parts of the compositor, put together in the order that they need each other.
 */
class Server {
public:
    /** `clock` where the session runs in lock-step: made before the reaper, which must know it. */
    Server(const Options& options, SessionDirectory directory, Reaper reaper,
           std::optional<ClockController> clock);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server();

    /** Sets everything up and starts the game. */
    Result<void> start();
    /** Runs until the session ends. Returns the exit status: the game's. */
    int run();

private:
    static int handle_signal(int number, void* data);

    void create_globals();
    Result<void> listen_for_games();
    AudioMode audio_mode() const;
    Result<void> offer_sound();
    Result<void> offer_pipewire();
    Result<void> announce_ready() const;
    void start_game();
    void handle_xwayland_settled(bool up);
    /** Something is on its way between game and compositor that is no client's message yet. */
    bool connection_pending() const;
    void set_output(unsigned width, unsigned height, const RefreshRate& rate);
    void handle_game_changed(View* view);

    const Options& options_;
    SessionDirectory directory_;
    Gamepads gamepads_;
    Handle<wl_display, wl_display_destroy> display_;
    wl_event_loop* loop_;
    std::unique_ptr<Renderer> renderer_;
    wlr_compositor* compositor_ = nullptr;
    BufferLending lending_;
    SessionClock clock_;
    std::optional<ClockController> unused_clock_;
    Handle<wlr_scene, +[](wlr_scene* scene) { wlr_scene_node_destroy(&scene->tree.node); }> scene_;
    std::unique_ptr<CaptureOutput> output_;
    wlr_output_layout* layout_ = nullptr;
    std::unique_ptr<WindowManager> windows_;
    std::unique_ptr<Seat> seat_;
    std::unique_ptr<XdgShell> xdg_shell_;
    std::unique_ptr<LockStep> lock_step_;
    std::unique_ptr<DmabufCheck> dmabuf_check_;
    std::unique_ptr<ReleasePoints> release_points_;
    std::unique_ptr<BufferReturns> returns_;
    std::unique_ptr<ControlDisplay> control_;
    std::unique_ptr<PipewireOnDemand> pipewire_;
    AudioMode audio_ = AudioMode::play;
    std::unique_ptr<SteppedSound> sound_;  // with AudioMode::session in lock-step
    std::unique_ptr<XwaylandServer> xwayland_;
    std::unique_ptr<SessionEnd> end_;
    std::unique_ptr<GameProcess> game_;
    int game_socket_ = -1;  // the display's; to see who waits to be let in
    Reaper reaper_;
    EventReport events_;
    std::vector<EventSource> signals_;
};

}  // namespace stepscope
