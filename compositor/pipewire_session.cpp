// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_session.hpp"

#include "pipewire_connection.hpp"
#include "pipewire_registry.hpp"
#include "pipewire_sound.hpp"
#include "pipewire_video.hpp"

namespace stepscope {
namespace {

class Session final : public PipewireSession {
public:
    Session(wl_display* display, const PipewireOffer& offer, const PictureServices& services)
        : loop_(wl_display_get_event_loop(display)),
          offer_(offer),
          services_(services),
          connection_(loop_, {.connected = [this](pw_core* core) { handle_connected(core); },
                              .lost = [this] { handle_lost(); },
                              .expected = [this](uint32_t id) { return registry_.asks_by(id); }}) {
        if (offer.sound) {
            sound_ =
                std::make_unique<PipewireSound>(sound_node_name(offer.session), offer.session,
                                                "Sound of " + offer.description, offer_.changed);
        }
        if (offer.video) {
            offer_video();
        }
    }

    Result<void> open() { return connection_.open(); }

    void offer_video() override {
        if (video_) {
            return;
        }
        video_ = std::make_unique<PipewireVideo>(
            loop_,
            PipewireVideo::Names{.node = video_node_name(offer_.session),
                                 .session = offer_.session,
                                 .description = offer_.description},
            services_, registry_, offer_.changed);
        if (connection_.core() != nullptr) {
            video_->connect(connection_.core());
        }
    }

    PipewireNodes nodes() const override {
        return {.video = video_node_name(offer_.session),
                .video_serial = video_ ? video_->serial() : 0,
                .sound = sound_ ? sound_node_name(offer_.session) : "",
                .sound_serial = sound_ ? sound_->serial() : 0};
    }

    void wait_until_ready(int milliseconds) override {
        const int64_t end_ns = monotonic_ns() + int64_t{milliseconds} * 1'000'000;
        while (sound_ && sound_->serial() == 0 && connection_.core() != nullptr) {
            const int64_t left_ns = end_ns - monotonic_ns();
            if (left_ns <= 0) {
                return;
            }
            connection_.iterate(static_cast<int>(left_ns / 1'000'000) + 1);
        }
    }

private:
    void handle_connected(pw_core* core) {
        registry_.connect(core);
        if (video_) {
            video_->connect(core);
        }
        if (sound_) {
            sound_->connect(core);
        }
    }
    void handle_lost() {
        if (video_) {
            video_->disconnect();
        }
        if (sound_) {
            sound_->disconnect();
        }
        registry_.disconnect();
        offer_.changed();
    }

    wl_event_loop* loop_;
    PipewireOffer offer_;
    PictureServices services_;
    // The nodes go before the connection that they live on.
    PipewireConnection connection_;
    PipewireRegistry registry_;
    std::unique_ptr<PipewireVideo> video_;
    std::unique_ptr<PipewireSound> sound_;
};

}  // namespace

bool pipewire_built_in() {
    return true;
}

Result<std::unique_ptr<PipewireSession>> create_pipewire_session(wl_display* display,
                                                                 const PipewireOffer& offer,
                                                                 const PictureServices& services) {
    auto session = std::make_unique<Session>(display, offer, services);
    if (auto opened = session->open(); !opened) {
        return std::unexpected(opened.error());
    }
    return session;
}

}  // namespace stepscope
