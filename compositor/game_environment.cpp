// SPDX-License-Identifier: LGPL-2.1-or-later
#include "game_environment.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <map>
#include <string_view>

#include "base/clock_page.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> own_environment() {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view line = *entry;
        if (const size_t equals = line.find('='); equals != std::string_view::npos) {
            variables.emplace(line.substr(0, equals), line.substr(equals + 1));
        }
    }
    return variables;
}

std::string environment_or(const char* name, const std::string& otherwise) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : otherwise;
}

// The game has a runtime directory of its own; its sound should still be heard. Links, because a
// server may come or come back later.
void link_sound(const GameEnvironment& environment, std::map<std::string, std::string>& variables) {
    const std::string outer = environment_or("XDG_RUNTIME_DIR", "");
    const fs::path inner = environment.runtime_directory;
    std::error_code error;
    if (environment.audio == AudioMode::off || !environment.alsa_configuration.empty()) {
        for (const char* name : {"PULSE_SERVER", "PIPEWIRE_REMOTE", "PIPEWIRE_RUNTIME_DIR"}) {
            variables.erase(name);
        }
        if (!environment.alsa_configuration.empty()) {
            variables["ALSA_CONFIG_PATH"] = environment.alsa_configuration;
            // SDL 2 and 3, and OpenAL: the first choice of each is another sound system.
            for (const char* name : {"SDL_AUDIODRIVER", "SDL_AUDIO_DRIVER", "ALSOFT_DRIVERS"}) {
                variables.try_emplace(name, "alsa");
            }
        }
        return;
    }
    if (!outer.empty()) {
        fs::create_directory(inner / "pulse", error);
        fs::create_symlink(fs::path(outer) / "pulse" / "native", inner / "pulse" / "native", error);
    }
    if (environment.audio == AudioMode::session) {
        fs::create_symlink(pipewire_socket(), inner / "pipewire-0", error);
        variables.erase("PIPEWIRE_RUNTIME_DIR");
        variables["PIPEWIRE_REMOTE"] = "pipewire-0";
        // What programs of PipeWire, and those of PulseAudio, play to.
        variables["PIPEWIRE_NODE"] = environment.sound_sink;
        variables["PULSE_SINK"] = environment.sound_sink;
    }
}

}  // namespace

std::string pipewire_socket() {
    std::string name = environment_or("PIPEWIRE_REMOTE", "pipewire-0");
    if (name.starts_with('/')) {
        return name;
    }
    const std::string directory =
        environment_or("PIPEWIRE_RUNTIME_DIR", environment_or("XDG_RUNTIME_DIR", ""));
    return directory.empty() ? "" : directory + "/" + name;
}

std::vector<std::string> make_game_environment(const GameEnvironment& environment) {
    auto variables = own_environment();
    variables.erase("WAYLAND_SOCKET");
    variables.erase("XAUTHORITY");
    variables.erase(clock::kEnvDisplayServer);  // is for the X server, not for the game
    variables.erase("STEPSCOPE_GAMEPADS");
    variables.erase("DESKTOP_STARTUP_ID");
    variables.erase("XDG_ACTIVATION_TOKEN");
    variables["XDG_RUNTIME_DIR"] = environment.runtime_directory;
    variables["XDG_SESSION_TYPE"] = environment.platform == Platform::x11 ? "x11" : "wayland";
    variables["XDG_CURRENT_DESKTOP"] = "stepscope";
    variables["STEPSCOPE_GAME_SESSION"] = environment.session;
    variables["WAYLAND_DISPLAY"] = kGameDisplayName;
    if (environment.x11_display.empty()) {
        variables.erase("DISPLAY");
    } else {
        variables["DISPLAY"] = environment.x11_display;
    }
    if (!environment.gamepads.empty()) {
        variables["STEPSCOPE_GAMEPADS"] = environment.gamepads;
        // SDL's own variable: these are its first pads, whatever else is plugged in.
        variables.try_emplace("SDL_JOYSTICK_DEVICE", environment.gamepads);
    }
    if (!environment.vulkan_layer_directory.empty()) {
        // Read by Vulkan loaders from 1.3.296 on; what the user has set there stays.
        std::string& directories = variables["VK_ADD_IMPLICIT_LAYER_PATH"];
        directories =
            environment.vulkan_layer_directory + (directories.empty() ? "" : ":" + directories);
        variables["STEPSCOPE_VULKAN_LAYER"] = "1";
    }
    // First choice, then second. Qt separates with another character; SDL 2 and 3 differ in name.
    struct Toolkit {
        const char* variable;
        const char* wayland;
        const char* x11;
    };
    static constexpr Toolkit kToolkits[] = {
        {"SDL_VIDEODRIVER", "wayland,x11", "x11"}, {"SDL_VIDEO_DRIVER", "wayland,x11", "x11"},
        {"GDK_BACKEND", "wayland,x11", "x11"},     {"QT_QPA_PLATFORM", "wayland;xcb", "xcb"},
        {"CLUTTER_BACKEND", "wayland", "x11"},     {"_JAVA_AWT_WM_NONREPARENTING", "1", "1"},
    };
    for (const Toolkit& toolkit : kToolkits) {
        const bool x11 = environment.platform == Platform::x11;
        variables.try_emplace(toolkit.variable, x11 ? toolkit.x11 : toolkit.wayland);
    }
    link_sound(environment, variables);

    std::vector<std::string> lines;
    lines.reserve(variables.size());
    for (const auto& [name, value] : variables) {
        lines.push_back(std::format("{}={}", name, value));
    }
    return lines;
}

}  // namespace stepscope
