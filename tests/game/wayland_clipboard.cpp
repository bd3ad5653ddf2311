// SPDX-License-Identifier: LGPL-2.1-or-later
#include "wayland_clipboard.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace stepscope::testgame {

namespace {
constexpr const char* kTextType = "text/plain;charset=utf-8";
}

const wl_data_device_listener WaylandClipboard::kDeviceListener = {
    .data_offer =
        [](void* data, wl_data_device*, wl_data_offer* handle) {
            auto& self = *static_cast<WaylandClipboard*>(data);
            self.offers_[handle].handle.reset(handle);
            wl_data_offer_add_listener(handle, &kOfferListener, data);
        },
    .enter = [](void*, wl_data_device*, uint32_t, wl_surface*, wl_fixed_t, wl_fixed_t,
                wl_data_offer*) {},
    .leave = [](void*, wl_data_device*) {},
    .motion = [](void*, wl_data_device*, uint32_t, wl_fixed_t, wl_fixed_t) {},
    .drop = [](void*, wl_data_device*) {},
    .selection =
        [](void* data, wl_data_device*, wl_data_offer* offer) {
            static_cast<WaylandClipboard*>(data)->handle_selection(offer);
        },
};

const wl_data_offer_listener WaylandClipboard::kOfferListener = {
    .offer =
        [](void* data, wl_data_offer* handle, const char* type) {
            auto& self = *static_cast<WaylandClipboard*>(data);
            if (std::strcmp(type, kTextType) == 0) {
                self.offers_[handle].has_text = true;
            }
        },
    .source_actions = [](void*, wl_data_offer*, uint32_t) {},
    .action = [](void*, wl_data_offer*, uint32_t) {},
};

const wl_data_source_listener WaylandClipboard::kSourceListener = {
    .target = [](void*, wl_data_source*, const char*) {},
    .send =
        [](void* data, wl_data_source*, const char*, int32_t fd) {
            auto& self = *static_cast<WaylandClipboard*>(data);
            const UniqueFd pipe(fd);
            const std::string text = self.game_.options().set_clipboard.value_or("");
            // A pipe takes 64 KiB at once, more than a test offers.
            const bool sent =
                ::write(pipe.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
            self.game_.report().write("clipboard_sent", {{"complete", sent}});
        },
    .cancelled =
        [](void* data, wl_data_source*) {
            auto& self = *static_cast<WaylandClipboard*>(data);
            self.source_.reset();
            self.game_.report().write("clipboard_lost");
        },
    .dnd_drop_performed = [](void*, wl_data_source*) {},
    .dnd_finished = [](void*, wl_data_source*) {},
    .action = [](void*, wl_data_source*, uint32_t) {},
};

WaylandClipboard::WaylandClipboard(const WaylandGlobals& globals, Game& game)
    : globals_(globals), game_(game) {
    if (!globals.seat || !globals.data_device_manager) {
        return;
    }
    device_.reset(wl_data_device_manager_get_data_device(globals.data_device_manager.get(),
                                                         globals.seat.get()));
    wl_data_device_add_listener(device_.get(), &kDeviceListener, this);
}

void WaylandClipboard::offer(uint32_t serial) {
    if (!device_ || offered_ || !game_.options().set_clipboard) {
        return;
    }
    offered_ = true;
    source_.reset(wl_data_device_manager_create_data_source(globals_.data_device_manager.get()));
    wl_data_source_add_listener(source_.get(), &kSourceListener, this);
    wl_data_source_offer(source_.get(), kTextType);
    wl_data_device_set_selection(device_.get(), source_.get(), serial);
    game_.report().write("clipboard_offered");
}

void WaylandClipboard::handle_selection(wl_data_offer* offer) {
    // Only the newest offer can be read.
    std::erase_if(offers_, [&](const auto& entry) { return entry.first != offer; });
    auto found = offers_.find(offer);
    if (found == offers_.end() || !found->second.has_text || !game_.options().get_clipboard) {
        return;
    }
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
        return;
    }
    pipe_ = UniqueFd(ends[0]);
    text_.clear();
    const UniqueFd writer(ends[1]);
    wl_data_offer_receive(offer, kTextType, writer.get());
}

void WaylandClipboard::read_some() {
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(pipe_.get(), bytes.data(), bytes.size());
    if (count > 0) {
        text_.append(bytes.data(), static_cast<size_t>(count));
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        pipe_.reset();
        game_.report().write("clipboard", {{"text", text_}});
    }
}

}  // namespace stepscope::testgame
