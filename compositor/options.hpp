// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/refresh_rate.hpp"
#include "picture_demand.hpp"
#include "renderer.hpp"

namespace stepscope {

/** Which window system the game is pointed to first. */
enum class Platform { automatic, wayland, x11 };

/** Where the game's sound goes. */
enum class AudioMode {
    /** Session where PipeWire runs and the game's time is real, else play. */
    automatic,
    /** The game finds no sound server. */
    off,
    /** Played on this machine, as by any program. */
    play,
    /** To a sink of the session's own, where it can be captured and nobody hears it. */
    session,
};

inline constexpr unsigned kMaxGamepads = 16;

struct Options {
    unsigned width = 1280;
    unsigned height = 720;
    RefreshRate refresh{};
    bool adaptive_sync = false;
    std::string session;
    RendererChoice renderer = RendererChoice::automatic;
    std::string render_node;
    Platform platform = Platform::automatic;
    bool xwayland = true;
    unsigned gamepads = 0;
    bool lockstep = false;
    bool pipewire = false;
    std::vector<PictureDemand> pipewire_nodes;
    AudioMode audio = AudioMode::automatic;
    std::optional<uint64_t> seed;
    int ready_fd = -1;
    int events_fd = -1;
    bool until_empty = false;
    bool die_with_parent = false;
    bool verbose = false;
    bool list = false;
    std::vector<std::string> command;
};

/** The options, or, where the program is to end now, its exit status; has printed why. */
std::expected<Options, int> parse_options(int argc, char** argv);

}  // namespace stepscope
