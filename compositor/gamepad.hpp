// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "gamepad_layout.hpp"

struct libevdev_uinput;

namespace stepscope {

/** A gamepad that the kernel shows to games as if it were plugged in; gone with this object. */
class Gamepad {
public:
    /** Needs /dev/uinput. Returns when games can open the device, or can't within a second. */
    static Result<std::unique_ptr<Gamepad>> create();
    Gamepad(const Gamepad&) = delete;
    Gamepad& operator=(const Gamepad&) = delete;
    ~Gamepad();

    /** As in the control protocol; false if there is no such button, axis or value. */
    bool press(uint32_t button, bool down);
    bool move(uint32_t axis, int32_t value);
    /** Reports all changes since the last report. What games read is complete on return. */
    void report();

    /** Its file in /dev/input. */
    const std::string& node() const { return node_; }

private:
    struct Closer {
        void operator()(libevdev_uinput* device) const;
    };

    Gamepad() = default;
    bool add(const std::optional<EvdevEvent>& event);

    UniqueFd uinput_;
    std::unique_ptr<libevdev_uinput, Closer> device_;
    std::string node_;
    GamepadLayout layout_;
    std::vector<EvdevEvent> changes_;
    bool failed_ = false;
};

}  // namespace stepscope
