// SPDX-License-Identifier: LGPL-2.1-or-later
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "beeper.hpp"
#include "company.hpp"
#include "game.hpp"
#include "options.hpp"
#include "report.hpp"
#include "wayland_backend.hpp"
#include "x11_backend.hpp"

namespace {

int run(int argc, char** argv) {
    using namespace stepscope::testgame;
    const auto options = parse_options(argc, argv);
    if (!options) {
        return options.error();
    }
    auto report = Report::open(options->report);
    if (!report) {
        std::fprintf(stderr, "stepscope-testgame: %s\n", report.error().message.c_str());
        return 1;
    }
    start_company(*options, *report);
    Game game(*options, *report);
    const auto beeper = !options->beep  ? nullptr
                        : options->alsa ? Beeper::start_alsa()
                                        : Beeper::start(game.start());
    if (options->beep && !beeper) {
        std::fprintf(stderr, "stepscope-testgame: --beep needs %s\n",
                     options->alsa ? "ALSA and a device" : "PipeWire");
        return 1;
    }
    const auto result =
        options->backend == BackendKind::wayland ? run_on_wayland(game) : run_on_x11(game);
    game.write_summary();
    if (!result) {
        std::fprintf(stderr, "stepscope-testgame: %s\n", result.error().message.c_str());
        return 1;
    }
    if (options->company != 0) {
        std::fflush(nullptr);
        _exit(options->exit_status);  // its threads report to the end
    }
    return options->exit_status;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "stepscope-testgame: %s\n", error.what());
        return 1;
    }
}
