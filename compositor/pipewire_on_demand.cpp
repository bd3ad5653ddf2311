// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_on_demand.hpp"

#include <format>
#include <utility>

#include "log.hpp"

namespace stepscope {
namespace {

/** The game starts without its sink where the sound server takes longer. */
constexpr int kSoundReadyMs = 500;

}  // namespace

PipewireOnDemand::PipewireOnDemand(wl_display* display, PipewireOffer offer,
                                   const PictureServices& services,
                                   std::function<void(const PipewireNodes&)> changed)
    : display_(display),
      offer_(std::move(offer)),
      services_(services),
      changed_(std::move(changed)) {
    offer_.changed = [this] { tell(); };
}

// What it says of its nodes as it goes is not asked back of it.
PipewireOnDemand::~PipewireOnDemand() {
    session_.reset();
}

Result<void> PipewireOnDemand::offer(bool video, const std::vector<PictureDemand>& demands) {
    if (auto made = make(video); !made) {
        return made;
    }
    for (const PictureDemand& demand : demands) {
        if (!session_->want(demand)) {
            return fail(Fault::usage,
                        std::format("--pipewire-node: at most {} of these", kMaxDemandedNodes));
        }
    }
    session_->wait_until_ready(kSoundReadyMs);
    return {};
}

void PipewireOnDemand::offer_video() {
    if (need(true)) {
        session_->offer_video();
        tell();
    }
}

bool PipewireOnDemand::want(const PictureDemand& demand) {
    return need(false) && session_->want(demand);
}

void PipewireOnDemand::release(const PictureDemand& demand) {
    if (session_) {
        session_->release(demand);
    }
}

PipewireNode PipewireOnDemand::node_for(const PictureDemand& demand) const {
    return session_ ? session_->node_for(demand) : PipewireNode{};
}

Result<void> PipewireOnDemand::make(bool video) {
    offer_.video = video;
    auto session = create_pipewire_session(display_, offer_, services_);
    if (!session) {
        return std::unexpected(session.error());
    }
    session_ = std::move(*session);
    return {};
}

bool PipewireOnDemand::need(bool video) {
    if (!session_) {
        if (auto made = make(video); !made) {
            log("{}", made.error().message);
            return false;
        }
    }
    return true;
}

void PipewireOnDemand::tell() const {
    if (session_) {
        changed_(session_->nodes());
    }
}

}  // namespace stepscope
