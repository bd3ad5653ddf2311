// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <set>

namespace stepscope {

/** One value of a device as evdev names it. */
struct EvdevEvent {
    uint16_t type;
    uint16_t code;
    int32_t value;

    bool operator==(const EvdevEvent&) const = default;
};

inline constexpr int32_t kStickMin = -32768;
inline constexpr int32_t kStickMax = 32767;
/** What the device has; clients count triggers to kStickMax, too. */
inline constexpr int32_t kTriggerMax = 255;

/**
 * Buttons and axes of the control protocol's gamepad in the layout of the kernel's driver for Xbox
 * 360 controllers, which games know: the directional pad is a hat of two axes there.
 */
class GamepadLayout {
public:
    /** Nothing if there is no such button. */
    std::optional<EvdevEvent> press(uint32_t button, bool down);
    /** Nothing if there is no such axis or the value is beyond its range. */
    static std::optional<EvdevEvent> move(uint32_t axis, int32_t value);

private:
    std::set<uint32_t> directions_;  // buttons of the directional pad that are down
};

}  // namespace stepscope
