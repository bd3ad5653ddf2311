// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_session.hpp"

#include "pipewire_connection.hpp"
#include "pipewire_sound.hpp"
#include "pipewire_video.hpp"

namespace stepscope {
namespace {

class Session final : public PipewireSession {
public:
    Session(wl_display* display, const PipewireOffer& offer, CaptureOutput& output,
            BufferLending& lending, const Renderer& renderer)
        : connection_(wl_display_get_event_loop(display),
                      {.connected = [this](pw_core* core) { handle_connected(core); },
                       .lost = [this] { handle_lost(); }}) {
        if (offer.video) {
            video_ = std::make_unique<PipewireVideo>(
                wl_display_get_event_loop(display),
                PipewireVideo::Names{.node = video_node_name(offer.session),
                                     .session = offer.session,
                                     .description = offer.description},
                output, lending, renderer);
        }
        if (offer.sound) {
            sound_ = std::make_unique<PipewireSound>(sound_node_name(offer.session), offer.session,
                                                     "Sound of " + offer.description);
        }
    }

    Result<void> open() { return connection_.open(); }

    void wait_until_ready(int milliseconds) override {
        const int64_t end_ns = monotonic_ns() + int64_t{milliseconds} * 1'000'000;
        while (sound_ && !sound_->ready() && connection_.core() != nullptr) {
            const int64_t left_ns = end_ns - monotonic_ns();
            if (left_ns <= 0) {
                return;
            }
            connection_.iterate(static_cast<int>(left_ns / 1'000'000) + 1);
        }
    }

private:
    void handle_connected(pw_core* core) {
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
    }

    // The nodes go before the connection that they live on.
    PipewireConnection connection_;
    std::unique_ptr<PipewireVideo> video_;
    std::unique_ptr<PipewireSound> sound_;
};

}  // namespace

bool pipewire_built_in() {
    return true;
}

Result<std::unique_ptr<PipewireSession>> create_pipewire_session(wl_display* display,
                                                                 const PipewireOffer& offer,
                                                                 CaptureOutput& output,
                                                                 BufferLending& lending,
                                                                 const Renderer& renderer) {
    auto session = std::make_unique<Session>(display, offer, output, lending, renderer);
    if (auto opened = session->open(); !opened) {
        return std::unexpected(opened.error());
    }
    return session;
}

}  // namespace stepscope
