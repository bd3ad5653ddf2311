// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

namespace stepscope::testgame {

enum class BackendKind { wayland, x11 };
enum class Paint { full, stripe };
enum class Cursor { none, arrow };
enum class GraphicsApi { shm, egl, glx, vulkan };
enum class PresentMode { fifo, mailbox, immediate };

/** What the command line asks of the game. Times are in seconds from the start. */
struct Options {
    BackendKind backend = BackendKind::wayland;
    int width = 640;
    int height = 360;
    bool fixed_size = false;
    bool fullscreen = false;
    std::string title = "Stepscope test game";
    std::string app_id = "stepscope-testgame";

    unsigned buffers = 3;
    bool sealable = true;
    bool shared_pool = false;
    bool argb = false;
    Paint paint = Paint::full;

    GraphicsApi graphics = GraphicsApi::shm;
    int interval = 1;
    bool swap_damage = false;
    PresentMode present_mode = PresentMode::fifo;
    unsigned company = 0;

    bool epoll = false;

    double rate = 60;
    bool vsync = false;
    uint64_t frames = 0;  // 0: no end

    int exit_status = 0;
    std::optional<double> exit_after;
    std::optional<double> crash_after;
    std::optional<double> dialog_after;
    std::optional<double> popup_after;
    double second_for = 0;  // 0: until the game ends

    bool handover = false;
    std::vector<std::string> game;  // what --handover starts

    bool beep = false;
    bool alsa = false;  // beep through ALSA, at the whole seconds of the clock
    Cursor cursor = Cursor::none;
    bool lock_pointer = false;
    std::optional<std::string> set_clipboard;
    bool get_clipboard = false;

    std::string report;
};

/** The unexpected value is the exit status: help or the error has been printed. */
std::expected<Options, int> parse_options(int argc, char** argv);

}  // namespace stepscope::testgame
