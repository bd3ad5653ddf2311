// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "pipewire_session.hpp"

namespace stepscope {

/** A session's nodes in PipeWire: nothing is asked of a daemon before the first one is wanted. */
class PipewireOnDemand {
public:
    /** `offer`, but for its video and its callback, holds for what is made later. `changed` is
     * called when a node has come or gone, from the loop. */
    PipewireOnDemand(wl_display* display, PipewireOffer offer, const PictureServices& services,
                     std::function<void(const PipewireNodes&)> changed);
    PipewireOnDemand(const PipewireOnDemand&) = delete;
    PipewireOnDemand& operator=(const PipewireOnDemand&) = delete;
    ~PipewireOnDemand();

    /** Makes what the command line asks for, before the game starts, and waits a moment for it.
     * Fault::usage where that is too much. */
    Result<void> offer(bool video, const std::vector<PictureDemand>& demands);
    /** A client wants the video node. */
    void offer_video();
    /** As PipewireSession's; false also where there is no PipeWire, which is logged. */
    bool want(const PictureDemand& demand);
    void release(const PictureDemand& demand);
    PipewireNode node_for(const PictureDemand& demand) const;

private:
    Result<void> make(bool video);
    bool need(bool video);
    void tell() const;

    wl_display* display_;
    PipewireOffer offer_;
    PictureServices services_;
    std::function<void(const PipewireNodes&)> changed_;
    std::unique_ptr<PipewireSession> session_;
};

}  // namespace stepscope
