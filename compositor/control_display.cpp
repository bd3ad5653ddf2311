// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control_display.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <format>

#include "base/unix_socket.hpp"
#include "capture_output.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

constexpr uint32_t kControlVersion = 5;

ControlDisplay* self_of(wl_resource* resource) {
    return static_cast<ControlDisplay*>(wl_resource_get_user_data(resource));
}

void destroy_resource(wl_client* /*client*/, wl_resource* resource) {
    wl_resource_destroy(resource);
}

}  // namespace

struct ControlDisplay::Client {
    const wl_client* client;
    wl_listener destroyed{};
    ControlDisplay* owner;
};

const struct stepscope_control_v1_interface ControlDisplay::kControlRequests{
    .destroy = destroy_resource,
    .get_session = create_session,
    .create_capture = create_capture,
    .get_stepper = get_stepper,
    .get_sound = get_sound,
    .get_gamepad = get_gamepad,
};

const struct stepscope_session_v1_interface ControlDisplay::kSessionRequests{
    .destroy = destroy_resource,
    .set_output = set_output,
    .terminate = terminate,
    .offer_pipewire = offer_pipewire,
    .create_pipewire_node = create_pipewire_node,
};

ControlDisplay::ControlDisplay(wl_display* display, CaptureOutput& output, BufferLending& lending,
                               BufferReturns& returns, SessionState state, Hooks hooks)
    : display_(display),
      output_(output),
      lending_(lending),
      returns_(returns),
      state_(std::move(state)),
      hooks_(std::move(hooks)),
      pipewire_requests_(hooks_.pipewire_nodes),
      global_(
          wl_global_create(display, &stepscope_control_v1_interface, kControlVersion, this, bind)) {
    make_private(global_);
    wl_display_set_global_filter(display, filter, this);
}

ControlDisplay::~ControlDisplay() {
    accept_source_.reset();
    // Their protocol objects point here.
    const auto clients = std::move(clients_);
    for (const auto& client : clients) {
        wl_list_remove(&client->destroyed.link);
        wl_client_destroy(const_cast<wl_client*>(client->client));
    }
    wl_global_destroy(global_);
}

Result<void> ControlDisplay::listen(const std::string& path) {
    auto socket = listen_unix(path);
    if (!socket) {
        return std::unexpected(socket.error());
    }
    socket_ = std::move(*socket);
    accept_source_.reset(wl_event_loop_add_fd(wl_display_get_event_loop(display_), socket_.get(),
                                              WL_EVENT_READABLE, handle_connection, this));
    return {};
}

int ControlDisplay::handle_connection(int /*fd*/, uint32_t /*mask*/, void* data) {
    static_cast<ControlDisplay*>(data)->accept_client();
    return 0;
}

void ControlDisplay::accept_client() {
    UniqueFd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection) {
        return;
    }
    auto peer = peer_credentials(connection.get());
    if (!peer || peer->uid != ::geteuid()) {
        log("refused a control connection of user {}: the session belongs to user {}",
            peer ? static_cast<int>(peer->uid) : -1, ::geteuid());
        return;
    }
    wl_client* raw = wl_client_create(display_, connection.get());
    if (raw == nullptr) {
        return;
    }
    (void)connection.take();
    auto client = std::make_unique<Client>(Client{.client = raw, .owner = this});
    client->destroyed.notify = [](wl_listener* listener, void*) {
        Client* gone = wl_container_of(listener, gone, destroyed);
        gone->owner->clients_.remove_if([gone](const auto& other) { return other.get() == gone; });
    };
    wl_client_add_destroy_listener(raw, &client->destroyed);
    clients_.push_back(std::move(client));
}

bool ControlDisplay::filter(const wl_client* client, const wl_global* global, void* data) {
    const auto* self = static_cast<const ControlDisplay*>(data);
    return !self->private_globals_.contains(global) ||
           std::ranges::any_of(self->clients_,
                               [client](const auto& known) { return known->client == client; });
}

void ControlDisplay::bind(wl_client* client, void* data, uint32_t version, uint32_t id) {
    wl_resource* resource =
        wl_resource_create(client, &stepscope_control_v1_interface, static_cast<int>(version), id);
    if (resource == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource, &kControlRequests, data, nullptr);
    const auto* self = static_cast<const ControlDisplay*>(data);
    uint32_t capabilities = STEPSCOPE_CONTROL_V1_CAPABILITY_MEMFD;
    if (self->state_.dmabufs) {
        capabilities |=
            STEPSCOPE_CONTROL_V1_CAPABILITY_DMABUF | STEPSCOPE_CONTROL_V1_CAPABILITY_ACQUIRE_FENCE;
    }
    if (self->stepper_) {
        capabilities |= STEPSCOPE_CONTROL_V1_CAPABILITY_LOCKSTEP;
    }
    if (self->hooks_.offer_pipewire && version >= STEPSCOPE_SESSION_V1_PIPEWIRE_SINCE_VERSION) {
        capabilities |= STEPSCOPE_CONTROL_V1_CAPABILITY_PIPEWIRE;
    }
    if (self->sound_ != nullptr && version >= STEPSCOPE_CONTROL_V1_GET_SOUND_SINCE_VERSION) {
        capabilities |= STEPSCOPE_CONTROL_V1_CAPABILITY_SOUND;
    }
    stepscope_control_v1_send_capabilities(resource, capabilities);
    if (version >= STEPSCOPE_CONTROL_V1_GAMEPADS_SINCE_VERSION) {
        stepscope_control_v1_send_gamepads(resource, self->gamepad_count());
    }
}

void ControlDisplay::create_session(wl_client* client, wl_resource* resource, uint32_t id) {
    ControlDisplay* self = self_of(resource);
    wl_resource* session = wl_resource_create(client, &stepscope_session_v1_interface,
                                              wl_resource_get_version(resource), id);
    if (session == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(session, &kSessionRequests, self, [](wl_resource* gone) {
        self_of(gone)->sessions_.erase(gone);
        self_of(gone)->pipewire_watchers_.erase(gone);
    });
    self->sessions_.insert(session);
    stepscope_session_v1_send_info(session, self->state_.name.c_str(),
                                   static_cast<uint32_t>(::getpid()), self->state_.renderer.c_str(),
                                   self->state_.device.c_str());
    self->send_output(session);
    self->send_window(session);
    stepscope_session_v1_send_done(session);
}

void ControlDisplay::create_capture(wl_client* client, wl_resource* resource, uint32_t id) {
    ControlDisplay* self = self_of(resource);
    auto capture =
        std::make_unique<Capture>(client, static_cast<uint32_t>(wl_resource_get_version(resource)),
                                  id, self->output_, self->lending_, self->returns_,
                                  Capture::Hooks{
                                      .ended =
                                          [self](Capture* gone) {
                                              self->captures_.remove_if([gone](const auto& other) {
                                                  return other.get() == gone;
                                              });
                                              self->update_formats();
                                          },
                                      .formats_changed = [self] { self->update_formats(); },
                                  });
    if (capture->resource() != nullptr) {
        self->captures_.push_back(std::move(capture));
    }
}

void ControlDisplay::get_stepper(wl_client* client, wl_resource* resource, uint32_t id) {
    ControlDisplay* self = self_of(resource);
    if (!self->stepper_) {
        wl_resource_post_error(resource, STEPSCOPE_CONTROL_V1_ERROR_NOT_LOCKSTEP,
                               "session '%s' has no lock-step; start it with: stepscope "
                               "--lockstep",
                               self->state_.name.c_str());
        return;
    }
    if (self->stepper_->taken()) {
        wl_resource_post_error(resource, STEPSCOPE_CONTROL_V1_ERROR_STEPPER_TAKEN,
                               "session '%s' is stepped by another consumer",
                               self->state_.name.c_str());
        return;
    }
    self->stepper_->create(client, static_cast<uint32_t>(wl_resource_get_version(resource)), id);
}

void ControlDisplay::get_sound(wl_client* client, wl_resource* resource, uint32_t id) {
    ControlDisplay* self = self_of(resource);
    if (self->sound_ == nullptr) {
        wl_resource_post_error(resource, STEPSCOPE_CONTROL_V1_ERROR_NO_SOUND,
                               "session '%s' has no sound in virtual time; start it with: "
                               "stepscope --lockstep --audio session",
                               self->state_.name.c_str());
        return;
    }
    self->sound_->create_capture(client, static_cast<uint32_t>(wl_resource_get_version(resource)),
                                 id);
}

uint32_t ControlDisplay::gamepad_count() const {
    return gamepads_ != nullptr ? gamepads_->count() : 0;
}

void ControlDisplay::get_gamepad(wl_client* client, wl_resource* resource, uint32_t id,
                                 uint32_t number) {
    ControlDisplay* self = self_of(resource);
    if (number >= self->gamepad_count()) {
        wl_resource_post_error(resource, STEPSCOPE_CONTROL_V1_ERROR_INVALID_GAMEPAD,
                               "session '%s' has no gamepad %u, it has %u; start it with: "
                               "stepscope --gamepads N",
                               self->state_.name.c_str(), number, self->gamepad_count());
        return;
    }
    self->gamepads_->create_resource(
        client, static_cast<uint32_t>(wl_resource_get_version(resource)), id, number);
}

void ControlDisplay::set_output(wl_client* /*client*/, wl_resource* resource, uint32_t width,
                                uint32_t height, uint32_t numerator, uint32_t denominator) {
    ControlDisplay* self = self_of(resource);
    auto valid_side = [](uint32_t side) {
        return side >= kMinOutputSide && side <= kMaxOutputSide;
    };
    const bool keep_size = width == 0 || height == 0;
    if (!keep_size && (!valid_side(width) || !valid_side(height))) {
        wl_resource_post_error(resource, STEPSCOPE_SESSION_V1_ERROR_INVALID_SIZE,
                               "output of %ux%u; sides must be within %u to %u", width, height,
                               kMinOutputSide, kMaxOutputSide);
        return;
    }
    const bool keep_rate = numerator == 0 && denominator == 0;
    const RefreshRate rate{numerator, denominator};
    if (!keep_rate && !valid_refresh_rate(rate)) {
        wl_resource_post_error(resource, STEPSCOPE_SESSION_V1_ERROR_INVALID_REFRESH,
                               "refresh rate %u/%u; expected at most %u Hz", numerator, denominator,
                               kMaxRefreshHertz);
        return;
    }
    self->hooks_.set_output(keep_size ? self->output_.width() : width,
                            keep_size ? self->output_.height() : height,
                            keep_rate ? self->output_.rate() : rate);
}

void ControlDisplay::terminate(wl_client* /*client*/, wl_resource* resource) {
    self_of(resource)->hooks_.terminate();
}

void ControlDisplay::offer_pipewire(wl_client* /*client*/, wl_resource* resource) {
    ControlDisplay* self = self_of(resource);
    if (self->hooks_.offer_pipewire) {
        self->pipewire_watchers_.insert(resource);
        self->hooks_.offer_pipewire();
    }
}

void ControlDisplay::create_pipewire_node(wl_client* /*client*/, wl_resource* resource, uint32_t id,
                                          uint32_t width, uint32_t height, uint32_t numerator,
                                          uint32_t denominator) {
    self_of(resource)->pipewire_requests_.create(
        resource, id, {.width = width, .height = height, .limit = {numerator, denominator}});
}

void ControlDisplay::handle_pipewire_changed(const PipewireNodes& nodes) {
    pipewire_requests_.handle_changed();
    auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
    auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
    for (wl_resource* session : pipewire_watchers_) {
        stepscope_session_v1_send_pipewire(session, nodes.video.c_str(), high(nodes.video_serial),
                                           low(nodes.video_serial), nodes.sound.c_str(),
                                           high(nodes.sound_serial), low(nodes.sound_serial));
        stepscope_session_v1_send_done(session);
    }
}

void ControlDisplay::send_output(wl_resource* session) const {
    const RefreshRate& rate = output_.rate();
    stepscope_session_v1_send_output(session, output_.width(), output_.height(), rate.numerator,
                                     rate.denominator);
}

void ControlDisplay::send_window(wl_resource* session) const {
    stepscope_session_v1_send_window(session, state_.title.c_str(), state_.app_id.c_str(),
                                     state_.backend.c_str(),
                                     static_cast<uint32_t>(state_.window_pid));
}

// A picture must suit all consumers that said what they can read.
void ControlDisplay::update_formats() {
    std::optional<std::vector<PictureLayout>> all;
    for (const auto& capture : captures_) {
        if (!capture->formats()) {
            continue;
        }
        if (!all) {
            all = capture->formats();
        } else {
            std::erase_if(*all, [&](const PictureLayout& layout) {
                return !std::ranges::contains(*capture->formats(), layout);
            });
        }
    }
    output_.set_readable(std::move(all));
}

void ControlDisplay::handle_frame(const CapturedFrame& frame) {
    for (auto& capture : captures_) {
        capture->handle_frame(frame);
    }
}

void ControlDisplay::handle_lost_frame() {
    for (auto& capture : captures_) {
        capture->handle_lost_frame();
    }
}

void ControlDisplay::handle_output_changed() {
    for (wl_resource* session : sessions_) {
        send_output(session);
        stepscope_session_v1_send_done(session);
    }
}

void ControlDisplay::handle_window_changed(const std::string& title, const std::string& app_id,
                                           const std::string& backend, pid_t pid) {
    state_.title = title;
    state_.app_id = app_id;
    state_.backend = backend;
    state_.window_pid = pid;
    for (wl_resource* session : sessions_) {
        send_window(session);
        stepscope_session_v1_send_done(session);
    }
}

void ControlDisplay::handle_ended(stepscope_session_v1_end how, uint32_t value) {
    for (wl_resource* session : sessions_) {
        stepscope_session_v1_send_ended(session, how, value);
        stepscope_session_v1_send_done(session);
    }
    wl_display_flush_clients(display_);
}

}  // namespace stepscope
