// SPDX-License-Identifier: LGPL-2.1-or-later
#include "server.hpp"

#include <poll.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <format>

#include "base/unix_socket.hpp"
#include "clock_library.hpp"
#include "game_environment.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

/** Virtual time that the X server needs before it talks to its window manager. */
constexpr int64_t kXwaylandStartNs = 2'000'000;
/** …and has after that, before the game starts, for what they have to say to each other. */
constexpr int64_t kXwaylandSettleNs = 8'000'000;

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
        text += (text.empty() ? "" : " ") + word;
    }
    return text;
}

}  // namespace

Server::Server(const Options& options, SessionDirectory directory, Reaper reaper,
               std::optional<ClockController> clock)
    : options_(options),
      directory_(std::move(directory)),
      display_(wl_display_create()),
      loop_(wl_display_get_event_loop(display_.get())),
      lending_(loop_),
      unused_clock_(std::move(clock)),
      reaper_(std::move(reaper)),
      events_(UniqueFd(options.events_fd)) {}

Server::~Server() {
    // The game first, while it still has a display to leave in order; then from the outside in.
    if (end_) {
        end_->forget_game();
    }
    game_.reset();
    xwayland_.reset();
    pipewire_.reset();
    control_.reset();
    sound_.reset();
    returns_.reset();
    clock_.follow(nullptr);  // what leaves is still told when
    lock_step_.reset();
    if (display_) {
        wl_display_destroy_clients(display_.get());
    }
    xdg_shell_.reset();
    windows_.reset();
    seat_.reset();
    if (layout_ != nullptr) {
        wlr_output_layout_destroy(layout_);
    }
    output_.reset();
    scene_.reset();
    signals_.clear();
    end_.reset();
}

Result<void> Server::start() {
    if (auto plugged_in = gamepads_.create(options_.gamepads); !plugged_in) {
        return plugged_in;
    }
    auto renderer = Renderer::create(options_.renderer, options_.render_node);
    if (!renderer) {
        return std::unexpected(renderer.error());
    }
    renderer_ = std::make_unique<Renderer>(std::move(*renderer));
    create_globals();
    if (auto lit = output_->set_mode(options_.width, options_.height, options_.refresh); !lit) {
        return lit;
    }
    output_->set_adaptive_sync(options_.adaptive_sync);
    windows_->set_output_box({0, 0, output_->output()->width, output_->output()->height});

    if (auto listening = listen_for_games(); !listening) {
        return listening;
    }
    audio_ = audio_mode();
    if (auto offered = offer_sound(); !offered) {
        return offered;
    }
    if (auto offered = offer_pipewire(); !offered) {
        return offered;
    }
    if (auto listening = control_->listen(directory_.control_socket()); !listening) {
        return listening;
    }
    for (int number : {SIGTERM, SIGINT, SIGHUP}) {
        signals_.emplace_back(wl_event_loop_add_signal(loop_, number, handle_signal, this));
    }
    game_ = std::make_unique<GameProcess>(
        loop_, std::move(reaper_),
        GameProcess::Hooks{
            .started =
                [this, reaper = reaper_.pid](pid_t pid) {
                    events_.started(pid, reaper);
                    if (lock_step_) {
                        lock_step_->controller().process_started(pid);
                    }
                },
            .ended =
                [this](const GameEnd& end, bool left) {
                    events_.ended(end);
                    end_->handle_game_ended(end, left);
                },
            .empty = [this] { end_->handle_game_empty(); },
            .lost =
                [this] {
                    log("the reaper process was killed; the session ends with it");
                    end_->stop();
                },
        });
    if (xwayland_) {
        const std::string number = xwayland_->display_name().substr(1);
        const std::string lock = "/tmp/.X" + number + "-lock";
        game_->remove_after_crash({"/tmp/.X11-unix/X" + number, lock}, lock);
    }
    if (auto published = directory_.publish({.name = directory_.name(),
                                             .directory = directory_.path(),
                                             .pid = ::getpid(),
                                             .command = joined(options_.command),
                                             .width = output_->width(),
                                             .height = output_->height(),
                                             .refresh = to_string(output_->rate()),
                                             .renderer = renderer_->name()});
        !published) {
        return published;
    }
    log("session '{}': {}x{} at {} Hz, renderer {} ({})", directory_.name(), output_->width(),
        output_->height(), to_string(output_->rate()), renderer_->name(), renderer_->reason());
    if (auto told = announce_ready(); !told) {
        return told;
    }
    if (lock_step_ && xwayland_) {
        // How long an X server takes to start is never the same, and the game must not see that.
        lock_step_->prepare(
            [this] { xwayland_->start([this](bool up) { handle_xwayland_settled(up); }); });
    } else {
        start_game();
    }
    return {};
}

// In lock-step, sound is for those who ask for it: most step to learn, and it takes time to make.
AudioMode Server::audio_mode() const {
    if (options_.audio != AudioMode::automatic) {
        return options_.audio;
    }
    const bool own =
        pipewire_built_in() && !options_.lockstep && ::access(pipewire_socket().c_str(), W_OK) == 0;
    return own ? AudioMode::session : AudioMode::play;
}

Result<void> Server::offer_sound() {
    if (!lock_step_ || audio_ != AudioMode::session) {
        return {};
    }
    auto sound = SteppedSound::create(directory_.runtime_directory() + "/asound.conf");
    if (!sound) {
        return std::unexpected(sound.error());
    }
    sound_ = std::move(*sound);
    lock_step_->set_step_end([this](int64_t now_ns) { sound_->handle_step_end(now_ns); });
    control_->offer_sound(*sound_);
    return {};
}

Result<void> Server::offer_pipewire() {
    const bool sound = audio_ == AudioMode::session && !sound_;
    pipewire_ = std::make_unique<PipewireOnDemand>(
        display_.get(),
        PipewireOffer{.session = directory_.name(),
                      .description = joined(options_.command),
                      .video = false,
                      .sound = sound,
                      .changed = {}},
        PictureServices{*output_, lending_, *returns_, *renderer_},
        [this](const PipewireNodes& nodes) { control_->handle_pipewire_changed(nodes); });
    if (!options_.pipewire && options_.pipewire_nodes.empty() && !sound) {
        return {};
    }
    return pipewire_->offer(options_.pipewire, options_.pipewire_nodes);
}

void Server::handle_xwayland_settled(bool up) {
    if (!up) {
        log("Xwayland did not start; X11 games can't connect");
    }
    lock_step_->finish_preparing(kXwaylandSettleNs, [this] { start_game(); });
}

void Server::start_game() {
    if (end_->requested()) {
        return;
    }
    end_->handle_game_starting(*game_);
    const GameEnvironment environment{
        .platform = options_.platform,
        .session = directory_.name(),
        .runtime_directory = directory_.runtime_directory(),
        .audio = audio_,
        .sound_sink = sound_node_name(directory_.name()),
        .alsa_configuration = sound_ ? sound_->configuration() : "",
        .x11_display = xwayland_ ? xwayland_->display_name() : "",
        .gamepads = gamepads_.nodes(),
        .vulkan_layer_directory = lock_step_ ? vulkan_layer_directory() : "",
    };
    std::vector<int> inherit;
    if (lock_step_) {
        // The environment has the clock library already: the X server takes part as well.
        ClockController& clock = lock_step_->controller();
        if (auto expected = clock.expect_process(); !expected) {
            log("{}", expected.error().message);
            end_->stop();
            return;
        }
        inherit = clock.inherited_fds();
        if (const std::string why = why_on_real_time(options_.command.front()); !why.empty()) {
            log("{}", why);
        }
        if (sound_) {
            sound_->set_origin(clock.monotonic_ns());
        }
    }
    game_->start(options_.command, make_game_environment(environment), inherit);
}

void Server::create_globals() {
    wl_display* display = display_.get();
    wlr_renderer* renderer = renderer_->renderer();
    wlr_renderer_init_wl_shm(renderer, display);
    scene_.reset(wlr_scene_create());
    wlr_linux_dmabuf_v1* dmabuf = nullptr;
    if (renderer_->drm_fd() >= 0) {
        dmabuf = wlr_linux_dmabuf_v1_create_with_renderer(display, 5, renderer);
        if (dmabuf != nullptr) {
            wlr_scene_set_linux_dmabuf_v1(scene_.get(), dmabuf);
            dmabuf_check_ = std::make_unique<DmabufCheck>(dmabuf, *renderer_);
        }
    }
    compositor_ = wlr_compositor_create(display, 6, renderer);
    if (dmabuf != nullptr && renderer_->timeline_device() >= 0 &&
        wlr_linux_drm_syncobj_manager_v1_create(display, 1, renderer_->timeline_device()) !=
            nullptr) {
        release_points_ =
            std::make_unique<ReleasePoints>(display, compositor_, renderer_->timeline_device());
    }
    returns_ = std::make_unique<BufferReturns>(loop_, lending_, release_points_.get());
    wlr_subcompositor_create(display);
    wlr_viewporter_create(display);
    wlr_single_pixel_buffer_manager_v1_create(display);
    wlr_alpha_modifier_v1_create(display);
    wlr_content_type_manager_v1_create(display, 1);
    wlr_tearing_control_manager_v1_create(display, 1);
    wlr_idle_inhibit_v1_create(display);
    wlr_fractional_scale_manager_v1_create(display, 1);
    wlr_fixes_create(display, 1);

    output_ = std::make_unique<CaptureOutput>(display, scene_.get(), *renderer_, lending_, clock_);
    output_->set_feedback(dmabuf);
    returns_->set_late_return([this] { output_->handle_memory_returned(); });
    wlr_presentation_create(display, output_->backend(), 2);
    layout_ = wlr_output_layout_create(display);
    wlr_output_layout_add(layout_, output_->output(), 0, 0);
    wlr_xdg_output_manager_v1_create(display, layout_);

    windows_ = std::make_unique<WindowManager>(
        loop_, scene_.get(),
        WindowManager::Hooks{
            .focus = [this](wlr_surface* surface) { seat_->focus(surface); },
            .contents_moved = [this] { seat_->handle_contents_moved(); },
            .game_changed = [this](View* view) { handle_game_changed(view); },
            .before_unmap =
                [this] {
                    if (lock_step_) {
                        lock_step_->handle_before_unmap();
                    }
                },
            .count_changed =
                [this](unsigned count) {
                    if (lock_step_) {
                        lock_step_->controller().set_windows(count);
                    }
                },
        });
    seat_ = std::make_unique<Seat>(
        display, scene_.get(), layout_, clock_, [this](wlr_surface* surface) {
            if (View* view = windows_->find(wlr_surface_get_root_surface(surface))) {
                windows_->raise(view);
            }
        });
    xdg_shell_ = std::make_unique<XdgShell>(display, *windows_);

    control_ = std::make_unique<ControlDisplay>(
        display, *output_, lending_, *returns_,
        SessionState{.name = directory_.name(),
                     .renderer = renderer_->name(),
                     .device = renderer_->device(),
                     .dmabufs = renderer_->makes_dmabufs()},
        ControlDisplay::Hooks{
            .set_output = [this](unsigned width, unsigned height,
                                 RefreshRate rate) { set_output(width, height, rate); },
            .terminate = [this] { end_->request(); },
            .offer_pipewire = pipewire_built_in()
                                  ? std::function<void()>([this] { pipewire_->offer_video(); })
                                  : nullptr,
            .pipewire_nodes =
                {
                    .want =
                        [this](const PictureDemand& demand) {
                            return pipewire_ && pipewire_->want(demand);
                        },
                    .release =
                        [this](const PictureDemand& demand) {
                            if (pipewire_) {
                                pipewire_->release(demand);
                            }
                        },
                    .node_for =
                        [this](const PictureDemand& demand) {
                            return pipewire_ ? pipewire_->node_for(demand) : PipewireNode{};
                        },
                },
        });
    control_->offer_gamepads(gamepads_);
    output_->add_sink(control_.get());
    if (unused_clock_) {
        output_->set_stepped(true);
        lock_step_ = std::make_unique<LockStep>(display, std::move(*unused_clock_), *output_);
        unused_clock_.reset();
        clock_.follow(&lock_step_->controller());
        lock_step_->set_busy_probe([this] { return connection_pending(); });
        lock_step_->set_before_step([this] { end_->consider(); });
        control_->offer_stepping(*lock_step_, [this] { end_->repeat_request(); });
        // The X server's timers must not move on by themselves: it lives in the game's time too.
        for (const std::string& line : lock_step_->controller().environment(clock_preload())) {
            const size_t equals = line.find('=');
            ::setenv(line.substr(0, equals).c_str(), line.substr(equals + 1).c_str(), 1);
        }
        ::setenv(clock::kEnvDisplayServer, "1", 1);
    }
    end_ = std::make_unique<SessionEnd>(
        loop_, SessionEnd::Parts{options_, *windows_, clock_, *control_, lock_step_.get()});
    control_->make_private(seat_->virtual_keyboard_global());
    control_->make_private(seat_->virtual_pointer_global());
    // For programs that know the wlroots protocols only; a copy each, unlike our own.
    control_->make_private(wlr_screencopy_manager_v1_create(display)->global);
    control_->make_private(wlr_ext_image_copy_capture_manager_v1_create(display, 1)->global);
    control_->make_private(
        wlr_ext_output_image_capture_source_manager_v1_create(display, 1)->global);
    control_->make_private(wlr_ext_data_control_manager_v1_create(display, 1)->global);

    if (options_.xwayland) {
        auto xwayland =
            XwaylandServer::create(display, compositor_, seat_->seat(), *windows_, [this] {
                // It lets its window manager in by a timer of a millisecond.
                if (lock_step_) {
                    lock_step_->advance(kXwaylandStartNs);
                }
            });
        if (xwayland) {
            xwayland_ = std::move(*xwayland);
            output_->set_display_server([this] { return xwayland_->client(); });
        } else {
            log("{}", xwayland.error().message);
        }
    }
}

Result<void> Server::listen_for_games() {
    // In the game's own runtime directory there is no other display to take the name from us.
    const std::string path = directory_.runtime_directory() + "/" + kGameDisplayName;
    auto socket = listen_unix(path, 128);
    if (!socket) {
        return std::unexpected(socket.error());
    }
    if (wl_display_add_socket_fd(display_.get(), socket->get()) < 0) {
        return fail(Fault::system, std::format("can't serve Wayland at '{}'", path));
    }
    game_socket_ = socket->take();  // the display closes it
    return {};
}

bool Server::connection_pending() const {
    pollfd polled{game_socket_, POLLIN, 0};
    return ::poll(&polled, 1, 0) > 0 || (xwayland_ && xwayland_->busy());
}

Result<void> Server::announce_ready() const {
    if (options_.ready_fd < 0) {
        return {};
    }
    const std::string line =
        std::format("session={} control={} wayland={}/{} x11={}\n", directory_.name(),
                    directory_.control_socket(), directory_.runtime_directory(), kGameDisplayName,
                    xwayland_ ? xwayland_->display_name() : "");
    if (::write(options_.ready_fd, line.data(), line.size()) < 0) {
        return fail_errno(std::format("can't write to --ready-fd {}", options_.ready_fd));
    }
    ::close(options_.ready_fd);
    return {};
}

void Server::set_output(unsigned width, unsigned height, const RefreshRate& rate) {
    if (width == output_->width() && height == output_->height() && rate == output_->rate()) {
        return;
    }
    if (auto done = output_->set_mode(width, height, rate); !done) {
        log("{}", done.error().message);
        return;
    }
    windows_->set_output_box({0, 0, static_cast<int>(width), static_cast<int>(height)});
    control_->handle_output_changed();
}

void Server::handle_game_changed(View* view) {
    if (!control_) {
        return;  // the session is over, and as one window goes another gets the focus
    }
    events_.window(view);
    if (view != nullptr) {
        control_->handle_window_changed(view->title(), view->app_id(), view->backend(),
                                        view->pid());
        return;
    }
    control_->handle_window_changed("", "", "", 0);
    end_->consider();
}

int Server::handle_signal(int /*number*/, void* data) {
    static_cast<Server*>(data)->end_->request();
    return 0;
}

int Server::run() {
    while (!end_->stopped()) {
        if (lock_step_) {
            lock_step_->flush_clients();
        } else {
            wl_display_flush_clients(display_.get());
        }
        if (lock_step_ && xwayland_ && xwayland_->client() != nullptr) {
            // The X server and its window manager work side by side with their clients.
            lock_step_->wait_for_turn();
        }
        if (xwayland_) {
            // Idle work may write to the X server; the dispatch would do it, and sleep.
            wl_event_loop_dispatch_idle(loop_);
            xwayland_->wake();
        }
        if (wl_event_loop_dispatch(loop_, -1) < 0 && errno != EINTR) {
            break;
        }
    }
    return end_->exit_status();
}

}  // namespace stepscope
