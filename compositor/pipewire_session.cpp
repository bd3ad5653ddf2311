// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_session.hpp"

#include <algorithm>
#include <list>
#include <vector>

#include "pacer.hpp"
#include "pipewire_connection.hpp"
#include "pipewire_registry.hpp"
#include "pipewire_sound.hpp"
#include "pipewire_video.hpp"

namespace stepscope {
namespace {

/** A node that nobody wants waits that long for somebody to link to it. */
constexpr int64_t kUnwantedNs = 10'000'000'000;
constexpr int kLookForConsumersMs = 500;

class Session final : public PipewireSession {
public:
    Session(wl_display* display, const PipewireOffer& offer, const PictureServices& services)
        : loop_(wl_display_get_event_loop(display)),
          offer_(offer),
          services_(services),
          connection_(loop_, {.connected = [this](pw_core* core) { handle_connected(core); },
                              .lost = [this] { handle_lost(); },
                              .expected = [this](uint32_t id) { return registry_.asks_by(id); }}),
          unwanted_timer_(wl_event_loop_add_timer(loop_, handle_unwanted, this)) {
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
        video_ = make_video({.node = video_node_name(offer_.session),
                             .session = offer_.session,
                             .description = offer_.description});
    }

    bool want(const PictureDemand& demand) override {
        auto found = std::ranges::find(demanded_, demand, &Demanded::demand);
        if (found != demanded_.end()) {
            ++found->wanted;
            return true;
        }
        if (demanded_.size() == kMaxDemandedNodes) {
            return false;
        }
        demanded_.push_back(
            {.demand = demand,
             .wanted = 1,
             .video = make_video({.node = video_node_name(offer_.session, demand),
                                  .session = offer_.session,
                                  .description = offer_.description + ", " + to_string(demand),
                                  .demand = demand})});
        return true;
    }

    void release(const PictureDemand& demand) override {
        auto found = std::ranges::find(demanded_, demand, &Demanded::demand);
        if (found != demanded_.end() && found->wanted > 0) {
            --found->wanted;
            wl_event_source_timer_update(unwanted_timer_.get(), kLookForConsumersMs);
        }
    }

    PipewireNode node_for(const PictureDemand& demand) const override {
        auto found = std::ranges::find(demanded_, demand, &Demanded::demand);
        return found != demanded_.end()
                   ? PipewireNode{.name = found->video->name(), .serial = found->video->serial()}
                   : PipewireNode{};
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
    /** A node of its own for pictures that somebody asked for. */
    struct Demanded {
        PictureDemand demand;
        unsigned wanted = 0;
        std::unique_ptr<PipewireVideo> video;
        int64_t unwanted_since_ns = 0;  // 0: it is wanted
    };

    std::unique_ptr<PipewireVideo> make_video(PipewireVideo::Settings settings) {
        auto video = std::make_unique<PipewireVideo>(loop_, std::move(settings), services_,
                                                     registry_, offer_.changed);
        if (connection_.core() != nullptr) {
            video->connect(connection_.core());
        }
        return video;
    }

    static int handle_unwanted(void* data) {
        static_cast<Session*>(data)->remove_unwanted();
        return 0;
    }

    void remove_unwanted() {
        const int64_t now_ns = monotonic_ns();
        bool unwanted = false;
        const size_t removed = std::erase_if(demanded_, [&](Demanded& node) {
            if (node.wanted > 0 || node.video->linked()) {
                node.unwanted_since_ns = 0;
            } else if (node.unwanted_since_ns == 0) {
                node.unwanted_since_ns = now_ns;
            }
            unwanted = unwanted || node.wanted == 0;
            return node.unwanted_since_ns != 0 && now_ns - node.unwanted_since_ns > kUnwantedNs;
        });
        if (unwanted) {
            wl_event_source_timer_update(unwanted_timer_.get(), kLookForConsumersMs);
        }
        if (removed > 0) {
            offer_.changed();
        }
    }

    void handle_connected(pw_core* core) {
        registry_.connect(core);
        for (PipewireVideo* video : videos()) {
            video->connect(core);
        }
        if (sound_) {
            sound_->connect(core);
        }
    }
    void handle_lost() {
        for (PipewireVideo* video : videos()) {
            video->disconnect();
        }
        if (sound_) {
            sound_->disconnect();
        }
        registry_.disconnect();
        offer_.changed();
    }

    std::vector<PipewireVideo*> videos() const {
        std::vector<PipewireVideo*> all;
        if (video_) {
            all.push_back(video_.get());
        }
        for (const Demanded& node : demanded_) {
            all.push_back(node.video.get());
        }
        return all;
    }

    wl_event_loop* loop_;
    PipewireOffer offer_;
    PictureServices services_;
    // The nodes go before the connection that they live on.
    PipewireConnection connection_;
    PipewireRegistry registry_;
    std::unique_ptr<PipewireVideo> video_;
    std::list<Demanded> demanded_;
    EventSource unwanted_timer_;
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
