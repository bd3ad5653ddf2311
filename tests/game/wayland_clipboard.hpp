// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/unique_fd.hpp"
#include "game.hpp"
#include "wl_ptr.hpp"

namespace stepscope::testgame {

/** Offers --set-clipboard's text and reads the selection for --get-clipboard. */
class WaylandClipboard {
public:
    /** Does nothing where the compositor has no seat or no data devices. */
    WaylandClipboard(const WaylandGlobals& globals, Game& game);
    WaylandClipboard(const WaylandClipboard&) = delete;
    WaylandClipboard& operator=(const WaylandClipboard&) = delete;

    /** Takes the selection, once, with the serial of an event that the game got. */
    void offer(uint32_t serial);

    /** To be polled for reading; -1 while nothing is being read. */
    int fd() const { return pipe_.get(); }
    /** Reads what fd() has. */
    void read_some();

private:
    struct Offer {
        WlPtr<wl_data_offer> handle;
        bool has_text = false;
    };

    void handle_selection(wl_data_offer* offer);

    static const wl_data_device_listener kDeviceListener;
    static const wl_data_offer_listener kOfferListener;
    static const wl_data_source_listener kSourceListener;

    const WaylandGlobals& globals_;
    Game& game_;
    WlPtr<wl_data_device> device_;
    WlPtr<wl_data_source> source_;
    std::map<wl_data_offer*, Offer> offers_;
    bool offered_ = false;
    UniqueFd pipe_;
    std::string text_;
};

}  // namespace stepscope::testgame
