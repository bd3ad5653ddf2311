// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_session.hpp"

#include "pipewire_connection.hpp"
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
                PipewireVideo::Names{.node = "stepscope." + offer.session,
                                     .session = offer.session,
                                     .description = offer.description},
                output, lending, renderer);
        }
    }

    Result<void> open() { return connection_.open(); }

private:
    void handle_connected(pw_core* core) {
        if (video_) {
            video_->connect(core);
        }
    }
    void handle_lost() {
        if (video_) {
            video_->disconnect();
        }
    }

    // The nodes go before the connection that they live on.
    PipewireConnection connection_;
    std::unique_ptr<PipewireVideo> video_;
};

}  // namespace

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
