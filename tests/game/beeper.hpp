// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <memory>

namespace stepscope::testgame {

/** How often the game flashes and beeps with --beep, and for how long each time. */
inline constexpr std::chrono::milliseconds kBeepPeriod{1000};
inline constexpr std::chrono::milliseconds kBeepLength{100};

/** Whether there is a flash and a beep at this time after the game's start. */
inline bool beeping(std::chrono::nanoseconds since_start) {
    return since_start.count() >= 0 && since_start % kBeepPeriod < kBeepLength;
}

/** Plays a tone through PipeWire, in a thread of its own, by the same clock as the pictures. */
class Beeper {
public:
    /** Null where there is no PipeWire, in this build or on this machine. */
    static std::unique_ptr<Beeper> start(std::chrono::steady_clock::time_point start);
    /**
     * The same through ALSA, at the clock's whole seconds. For virtual time: elsewhere the device
     * has a clock of its own. Null where there is no ALSA.
     */
    static std::unique_ptr<Beeper> start_alsa();
    virtual ~Beeper() = default;
};

}  // namespace stepscope::testgame
