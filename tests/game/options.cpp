// SPDX-License-Identifier: LGPL-2.1-or-later
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>
#include <utility>

namespace stepscope::testgame {

namespace {

constexpr int kMaxSize = 16384;

/** Reads "1280x720". */
bool parse_size(const std::string& text, int& width, int& height) {
    const char* end = text.data() + text.size();
    auto [separator, first] = std::from_chars(text.data(), end, width);
    if (first != std::errc{} || separator == end || *separator != 'x') {
        return false;
    }
    auto [rest, second] = std::from_chars(separator + 1, end, height);
    return second == std::errc{} && rest == end && width > 0 && height > 0 && width <= kMaxSize &&
           height <= kMaxSize;
}

}  // namespace

std::expected<Options, int> parse_options(int argc, char** argv) {
    Options options;
    std::string size;
    bool popup = false;
    const std::map<std::string, BackendKind> backends = {{"wayland", BackendKind::wayland},
                                                         {"x11", BackendKind::x11}};
    const std::map<std::string, Paint> paints = {{"full", Paint::full}, {"stripe", Paint::stripe}};
    const std::map<std::string, Cursor> cursors = {{"none", Cursor::none},
                                                   {"arrow", Cursor::arrow}};
    const std::map<std::string, bool> pools = {{"sealable", true}, {"unsealable", false}};

    [[maybe_unused]] const std::map<std::string, GraphicsApi> graphics = {
        {"shm", GraphicsApi::shm},
        {"egl", GraphicsApi::egl},
        {"glx", GraphicsApi::glx},
        {"vulkan", GraphicsApi::vulkan}};
    [[maybe_unused]] const std::map<std::string, PresentMode> present_modes = {
        {"fifo", PresentMode::fifo},
        {"mailbox", PresentMode::mailbox},
        {"immediate", PresentMode::immediate}};

    CLI::App app("A game for tests: numbers its frames, reports what it sees, ends as told.",
                 "stepscope-testgame");
    app.add_option("--backend", options.backend, "Display to use: wayland or x11")
        ->transform(CLI::Transformer(backends).description(""));
    app.add_option("--size", size, "Initial size, as in 640x360");
    app.add_flag("--fixed-size", options.fixed_size, "Insist on the size");
    app.add_flag("--fullscreen", options.fullscreen, "Ask for the whole output");
    app.add_option("--title", options.title, "Window title");
    app.add_option("--app-id", options.app_id, "Application id; the class on X11");
    app.add_option("--buffers", options.buffers, "Buffers to draw into; never more")
        ->check(CLI::Range(1U, 16U));
    app.add_option("--pool", options.sealable, "sealable or unsealable memory")
        ->transform(CLI::Transformer(pools).description(""));
    app.add_flag("--shared-pool", options.shared_pool,
                 "All buffers in one file, one after another");
    app.add_flag("--argb", options.argb, "A format with alpha; all of it is opaque");
    app.add_option("--paint", options.paint, "full: every pixel; stripe: the numbers alone")
        ->transform(CLI::Transformer(paints).description(""));
#ifdef STEPSCOPE_TESTGAME_GRAPHICS
    app.add_option("--graphics", options.graphics, "Draw with shm, egl, glx or vulkan")
        ->transform(CLI::Transformer(graphics).description(""));
    app.add_option("--interval", options.interval, "Swap interval of EGL and GLX")
        ->check(CLI::Range(0, 4));
    app.add_flag("--swap-damage", options.swap_damage, "With EGL: swap buffers with damage");
    app.add_option("--present-mode", options.present_mode, "Vulkan: fifo, mailbox or immediate")
        ->transform(CLI::Transformer(present_modes).description(""));
#endif
    app.add_option("--company", options.company,
                   "So many threads, and so many children, that report each 5 ms")
        ->check(CLI::Range(0U, 16U));
    app.add_option("--rate", options.rate, "Frames per second; 0: as fast as buffers come back")
        ->check(CLI::Range(0.0, 100000.0));
    app.add_flag("--epoll", options.epoll, "Wait for the display with epoll, X11 only");
    app.add_flag("--vsync", options.vsync, "One frame per frame callback; --rate is ignored");
    app.add_option("--frames", options.frames, "End after so many frames");
    app.add_flag("--beep", options.beep, "Flash and beep, at the same time, once a second");
    app.add_flag("--alsa", options.alsa,
                 "With --beep: through ALSA, in lock-step, at the clock's whole seconds");
    app.add_option("--exit-status", options.exit_status, "Status to end with")
        ->check(CLI::Range(0, 255));
    app.add_option("--exit-after", options.exit_after, "End after so many seconds");
    app.add_option("--crash-after", options.crash_after, "Abort after so many seconds");
    app.add_option("--dialog-after", options.dialog_after, "Open a dialog after so many seconds");
    app.add_option("--popup-after", options.popup_after, "Open a menu after so many seconds");
    app.add_flag("--popup", popup, "The same as --popup-after 0");
    app.add_option("--second-for", options.second_for, "Close dialog and menu after so long");
    app.add_flag("--handover", options.handover,
                 "Be a launcher: show a window, start the game whose options follow --, go");
    app.add_option("game", options.game, "After --: options of the game that --handover starts");
    app.add_option("--cursor", options.cursor, "Pointer picture: none or arrow")
        ->transform(CLI::Transformer(cursors).description(""));
    app.add_flag("--lock-pointer", options.lock_pointer, "Lock the pointer, take relative motion");
    app.add_option("--set-clipboard", options.set_clipboard, "Text to offer as clipboard");
    app.add_flag("--get-clipboard", options.get_clipboard, "Report what the clipboard holds");
    app.add_option("--report", options.report, "File for one JSON object per event");
    try {
        app.parse(argc, argv);
        if (!size.empty() && !parse_size(size, options.width, options.height)) {
            throw CLI::ValidationError("--size",
                                       "expected a size such as 640x360, got '" + size + "'");
        }
        if (!options.game.empty() && !options.handover) {
            throw CLI::ValidationError(
                "game", "'" + options.game.front() + "' is only understood with --handover");
        }
    } catch (const CLI::ParseError& error) {
        return std::unexpected(app.exit(error));
    }
    if (popup && !options.popup_after) {
        options.popup_after = 0;
    }
    return options;
}

}  // namespace stepscope::testgame
