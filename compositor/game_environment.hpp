// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <vector>

#include "options.hpp"

namespace stepscope {

/** Name of the game's Wayland socket in its runtime directory. */
inline constexpr const char* kGameDisplayName = "wayland-0";

/** What the game's environment is made from. */
struct GameEnvironment {
    Platform platform = Platform::automatic;
    std::string session;
    std::string runtime_directory;
    AudioMode audio = AudioMode::play;
    std::string sound_sink;              // PipeWire node for AudioMode::session
    std::string alsa_configuration;      // of the session's own device, in lock-step; else empty
    std::string x11_display;             // empty: no X11
    std::string gamepads;                // files separated by colons; empty: none
    std::string vulkan_layer_directory;  // empty: no present gate for Vulkan
};

/**
 * Our own environment with the displays replaced, and with what SDL, GTK and Qt need to choose the
 * right one. What the user has set for a toolkit stays. Links the user's sound servers into the
 * game's runtime directory, as the audio mode says.
 */
std::vector<std::string> make_game_environment(const GameEnvironment& environment);

/** Where the user's PipeWire daemon listens, whether or not it runs; empty if that can't be known.
 */
std::string pipewire_socket();

}  // namespace stepscope
