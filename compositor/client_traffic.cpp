// SPDX-License-Identifier: LGPL-2.1-or-later
#include "client_traffic.hpp"

namespace stepscope {
namespace {

constexpr int kQuietRounds = 2;

}  // namespace

bool ClientTraffic::pending() {
    wl_display_flush_clients(display_);
    if (busy_ && busy_()) {
        return true;
    }
    polled_.clear();
    wl_client* client = nullptr;
    wl_client_for_each(client, wl_display_get_client_list(display_)) {
        polled_.push_back({wl_client_get_fd(client), POLLIN, 0});
    }
    return ::poll(polled_.data(), polled_.size(), 0) != 0;
}

bool ClientTraffic::count_quiet_round(uint64_t quiescence, bool looped) {
    if (std::exchange(quiescence_, quiescence) != quiescence) {
        quiet_rounds_ = 0;  // somebody ran, and may have sent something that was read since
    }
    quiet_rounds_ = pending() || !looped ? 0 : quiet_rounds_ + 1;
    if (quiet_rounds_ < kQuietRounds) {
        return false;
    }
    quiet_rounds_ = 0;
    return true;
}

}  // namespace stepscope
