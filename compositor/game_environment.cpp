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

// The game has a runtime directory of its own; its sound should still be heard.
void link_sound(const std::string& runtime_directory) {
    const char* outer = std::getenv("XDG_RUNTIME_DIR");
    if (outer == nullptr || *outer == '\0') {
        return;
    }
    std::error_code error;
    const fs::path pulse = fs::path(outer) / "pulse" / "native";
    if (fs::exists(pulse, error)) {
        fs::create_directory(fs::path(runtime_directory) / "pulse", error);
        fs::create_symlink(pulse, fs::path(runtime_directory) / "pulse" / "native", error);
    }
}

}  // namespace

std::vector<std::string> make_game_environment(const GameEnvironment& environment) {
    auto variables = own_environment();
    variables.erase("WAYLAND_SOCKET");
    variables.erase("XAUTHORITY");
    variables.erase(clock::kEnvDisplayServer);  // is for the X server, not for the game
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
    link_sound(environment.runtime_directory);

    std::vector<std::string> lines;
    lines.reserve(variables.size());
    for (const auto& [name, value] : variables) {
        lines.push_back(std::format("{}={}", name, value));
    }
    return lines;
}

}  // namespace stepscope
