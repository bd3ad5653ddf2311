// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gamepads.hpp"

#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <utility>

namespace stepscope::testgame {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t now(clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return time.tv_sec * kSecond + time.tv_nsec;
}

}  // namespace

Gamepads::Gamepads() {
    const char* nodes = std::getenv("STEPSCOPE_GAMEPADS");
    std::istringstream list(nodes != nullptr ? nodes : "");
    for (std::string node; std::getline(list, node, ':');) {
        Pad pad{.fd = UniqueFd(::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)),
                .device = nullptr,
                // Both are in use; real time is what the kernel begins with.
                .clock = pads_.empty() ? CLOCK_MONOTONIC : CLOCK_REALTIME};
        libevdev* device = nullptr;
        if (!pad.fd || libevdev_new_from_fd(pad.fd.get(), &device) < 0) {
            std::fprintf(stderr, "stepscope-testgame: can't read the gamepad %s\n", node.c_str());
            continue;
        }
        pad.device.reset(device);
        libevdev_set_clock_id(device, pad.clock);
        pads_.push_back(std::move(pad));
    }
}

void Gamepads::read(const std::function<void(const PadEvent&)>& handle) {
    for (unsigned number = 0; number < pads_.size(); ++number) {
        const Pad& pad = pads_[number];
        input_event event{};
        unsigned mode = LIBEVDEV_READ_FLAG_NORMAL;
        for (;;) {
            const int result = libevdev_next_event(pad.device.get(), mode, &event);
            if (result < 0) {
                if (mode == LIBEVDEV_READ_FLAG_SYNC) {
                    mode = LIBEVDEV_READ_FLAG_NORMAL;
                    continue;
                }
                break;
            }
            if (event.type == EV_SYN && event.code == SYN_DROPPED) {
                mode = LIBEVDEV_READ_FLAG_SYNC;
            }
            if (event.type == EV_SYN && event.code == SYN_REPORT) {
                continue;
            }
            const int64_t stamp =
                event.input_event_sec * kSecond + int64_t{event.input_event_usec} * 1000;
            const char* name = libevdev_event_code_get_name(event.type, event.code);
            handle({.pad = number,
                    .code = name != nullptr ? name : "?",
                    .value = event.value,
                    .age_ns = now(pad.clock) - stamp});
        }
    }
}

}  // namespace stepscope::testgame
