// SPDX-License-Identifier: LGPL-2.1-or-later
#include "options.hpp"

#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>

#include "base/session_registry.hpp"
#include "capture_output.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

constexpr int kUsageStatus = 2;

constexpr const char* kExamples = R"(Examples:
  stepscope -- chocolate-doom -iwad freedoom1.wad
  stepscope -W 1920 -H 1080 -r 144 --session race -- supertux2
  gst-launch-1.0 wlscreencopysrc session=race ! videoconvert ! autovideosink
  stepscope --list)";

const std::map<std::string, RendererChoice> kRenderers{{"auto", RendererChoice::automatic},
                                                       {"pixman", RendererChoice::pixman},
                                                       {"gles2", RendererChoice::gles2},
                                                       {"vulkan", RendererChoice::vulkan}};
const std::map<std::string, AudioMode> kAudioModes{{"auto", AudioMode::automatic},
                                                   {"off", AudioMode::off},
                                                   {"play", AudioMode::play},
                                                   {"session", AudioMode::session}};
const std::map<std::string, Platform> kPlatforms{
    {"auto", Platform::automatic}, {"wayland", Platform::wayland}, {"x11", Platform::x11}};

/** An option that takes one of the names in `choices`, with an error of one line otherwise. */
template <typename Value>
void add_choice(CLI::App& app, const std::string& name, std::string& target,
                const std::string& description, const std::map<std::string, Value>& choices) {
    app.add_option(name, target, description)
        ->check([&choices](const std::string& text) -> std::string {
            std::string names;
            for (const auto& [known, unused] : choices) {
                names += (names.empty() ? "" : ", ") + known;
            }
            return choices.contains(text)
                       ? std::string()
                       : std::format("'{}' is unknown; expected one of {}", text, names);
        })
        ->type_name("NAME")
        ->capture_default_str();
}

std::string check_side(const std::string& text) {
    unsigned side = 0;
    if (!CLI::detail::lexical_cast(text, side) || side < kMinOutputSide || side > kMaxOutputSide) {
        return std::format("{} is no size; expected {} to {} pixels", text, kMinOutputSide,
                           kMaxOutputSide);
    }
    return {};
}

std::string check_gamepads(const std::string& text) {
    unsigned count = 0;
    if (!CLI::detail::lexical_cast(text, count) || count > kMaxGamepads) {
        return std::format("{} is no number of gamepads; expected 0 to {}", text, kMaxGamepads);
    }
    return {};
}

}  // namespace

std::expected<Options, int> parse_options(int argc, char** argv) {
    Options options;
    std::string refresh = "60";
    CLI::App app{
        "Runs a game on a display of its own, from which it can be captured without a copy."};
    app.usage("Usage: stepscope [OPTIONS] -- COMMAND [ARGUMENTS]");
    app.footer(kExamples);
    app.set_version_flag("--version", "stepscope " STEPSCOPE_VERSION);
    app.set_help_flag("--help", "Print this text and exit");
    app.prefix_command();

    app.add_option("-W,--output-width", options.width, "Width of the picture in pixels")
        ->check(check_side)
        ->type_name("PIXELS")
        ->capture_default_str();
    app.add_option("-H,--output-height", options.height, "Height of the picture in pixels")
        ->check(check_side)
        ->type_name("PIXELS")
        ->capture_default_str();
    app.add_option("-r,--refresh", refresh,
                   "Frames per second: 60, 59.94, 60000/1001; 0: every commit of the game at once")
        ->type_name("HZ")
        ->capture_default_str();
    app.add_flag("--adaptive-sync", options.adaptive_sync,
                 "Show frames when the game has them, not on a fixed beat; -r is the most");
    app.add_option("--session", options.session,
                   "Name for consumers to find the session by (default: game, game-2, ...)")
        ->type_name("NAME");
    std::string renderer = "auto";
    add_choice(app, "--renderer", renderer,
               "What composes when a frame can't pass through: auto, pixman, gles2, vulkan",
               kRenderers);
    app.add_option("--render-node", options.render_node,
                   "GPU to use (default: the first in /dev/dri); software: draw with the CPU")
        ->type_name("PATH");
    std::string platform = "auto";
    add_choice(app, "--platform", platform,
               "Window system that toolkits are told to prefer: auto, wayland, x11", kPlatforms);
    bool no_xwayland = false;
    app.add_flag("--no-xwayland", no_xwayland, "Do without X11");
    app.add_option("--gamepads", options.gamepads,
                   "Gamepads that consumers can press buttons of; needs /dev/uinput")
        ->check(check_gamepads)
        ->type_name("N");
    app.add_flag("--lockstep", options.lockstep,
                 "The game's time stands still until a consumer steps it");
    app.add_option("--seed", options.seed, "With --lockstep: where the game's random numbers begin")
        ->type_name("NUMBER");
    app.add_flag("--pipewire", options.pipewire,
                 "Offer the picture as a PipeWire video source, stepscope.SESSION");
    std::vector<std::string> pipewire_nodes;
    app.add_option("--pipewire-node", pipewire_nodes,
                   "Offer pictures of that size, and at most so many a second, as a PipeWire video "
                   "source of their own: stepscope.SESSION.WIDTHxHEIGHT@RATE; as often as wanted")
        ->expected(1)
        ->take_all()
        ->type_name("SIZE[@RATE]");
    std::string audio = "auto";
    add_choice(app, "--audio", audio,
               "Where the game's sound goes: to a sink of the session's own (session), to this "
               "machine's speakers (play), nowhere (off)",
               kAudioModes);
    app.add_option("--ready-fd", options.ready_fd,
                   "Write a line with the session's name and displays here when it can be used")
        ->type_name("FD");
    app.add_option("--events-fd", options.events_fd,
                   "Write a line of JSON here when the command starts or ends and when the game "
                   "shows another window")
        ->type_name("FD");
    app.add_flag("--until-empty", options.until_empty,
                 "When the command has ended, go on while any process of it is left, with or "
                 "without a window");
    app.add_flag("--die-with-parent", options.die_with_parent,
                 "End the game and the session when the process that started this one dies");
    app.add_flag("--list", options.list, "List the sessions that run and exit");
    app.add_flag("-v,--verbose", options.verbose, "Print what the compositor does");

    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& success) {
        return std::unexpected(app.exit(success));
    } catch (const CLI::ParseError& error) {
        log("{} (see stepscope --help)", error.what());
        return std::unexpected(kUsageStatus);
    }
    auto usage_error = [](const std::string& message) {
        log("{}", message);
        return std::unexpected(kUsageStatus);
    };

    options.renderer = kRenderers.at(renderer);
    options.platform = kPlatforms.at(platform);
    options.audio = kAudioModes.at(audio);
    options.xwayland = !no_xwayland;
    if (options.platform == Platform::x11 && no_xwayland) {
        return usage_error("--platform x11 and --no-xwayland exclude each other");
    }
    if (options.seed && !options.lockstep) {
        return usage_error("--seed needs --lockstep");
    }
    auto rate = parse_refresh_rate(refresh);
    if (!rate) {
        return usage_error("-r: " + rate.error().message);
    }
    options.refresh = *rate;
    if (!options.session.empty()) {
        if (auto valid = check_session_name(options.session); !valid) {
            return usage_error("--session: " + valid.error().message);
        }
    }
    for (const std::string& text : pipewire_nodes) {
        auto demand = parse_picture_demand(text);
        if (!demand) {
            return usage_error("--pipewire-node: " + demand.error().message);
        }
        options.pipewire_nodes.push_back(*demand);
    }
    options.command = app.remaining();
    if (!options.command.empty() && options.command.front() == "--") {
        options.command.erase(options.command.begin());
    } else if (!options.command.empty() && options.command.front().starts_with('-')) {
        return usage_error(
            std::format("unknown option {} (see stepscope --help)", options.command.front()));
    }
    if (options.list) {
        return options;
    }
    if (options.command.empty()) {
        return usage_error(
            "no command given; expected: stepscope [OPTIONS] -- COMMAND [ARGUMENTS]");
    }
    for (const auto& [name, fd] :
         {std::pair{"--ready-fd", options.ready_fd}, std::pair{"--events-fd", options.events_fd}}) {
        if (fd >= 0 && ::fcntl(fd, F_GETFD) < 0) {
            return usage_error(std::format("{} {}: no such descriptor is open", name, fd));
        }
    }
    return options;
}

}  // namespace stepscope
