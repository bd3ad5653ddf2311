// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libevdev/libevdev.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"

namespace stepscope::testgame {

/** Something that a gamepad did. */
struct PadEvent {
    unsigned pad;
    std::string code;  // as libevdev names it
    int value;
    int64_t age_ns;  // of its stamp, on the clock of the stamp
};

/** The gamepads that $STEPSCOPE_GAMEPADS names, read as games do: all that is there, once per
 * frame. */
class Gamepads {
public:
    Gamepads();
    void read(const std::function<void(const PadEvent&)>& handle);

private:
    struct Closer {
        void operator()(libevdev* device) const { libevdev_free(device); }
    };
    struct Pad {
        UniqueFd fd;
        std::unique_ptr<libevdev, Closer> device;
        clockid_t clock;
    };

    std::vector<Pad> pads_;
};

}  // namespace stepscope::testgame
