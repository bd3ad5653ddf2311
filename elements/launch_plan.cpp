// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_plan.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <format>

#include "process_tree.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;
using steam::SteamLibrary;
using steam::SteamTitle;
using steam::TitleState;

std::unexpected<Error> usage(std::string message) {
    return fail(Fault::usage, std::move(message));
}

Result<void> check_what(const LaunchSettings& settings) {
    const int given = (settings.app_id != 0 ? 1 : 0) + (settings.title.empty() ? 0 : 1) +
                      (settings.command.empty() ? 0 : 1);
    if (given == 0) {
        return usage(
            "nothing to start: set app-id=ID or title=NAME for a Steam title, or command=\"PROGRAM "
            "ARGUMENTS\" for anything else");
    }
    if (given > 1) {
        return usage("app-id, title and command exclude each other; set one of them");
    }
    return {};
}

/** Our own words for a mistake in one of the properties. */
template <typename T>
Result<T> in_property(const char* name, Result<T> value) {
    if (!value) {
        return usage(std::format("{}: {}", name, value.error().message));
    }
    return value;
}

Result<LaunchPlan> plan_command(const LaunchSettings& settings,
                                const std::vector<std::string>& arguments) {
    auto words = in_property("command", steam::split_words(settings.command));
    if (!words) {
        return std::unexpected(words.error());
    }
    if (words->empty()) {
        return usage("command: expected a program, got white space");
    }
    if (settings.method != LaunchMethod::automatic) {
        return usage("launch-method is for Steam titles; a command is started as it is");
    }
    LaunchPlan plan;
    plan.label = std::format("'{}'", fs::path(words->front()).filename().string());
    plan.launch.words = std::move(*words);
    plan.launch.words.insert(plan.launch.words.end(), arguments.begin(), arguments.end());
    return plan;
}

const SteamLibrary& library_of(const std::vector<SteamLibrary>& libraries,
                               const SteamTitle& title) {
    auto found = std::ranges::find_if(libraries, [&](const SteamLibrary& library) {
        return library.installation.root == title.installation;
    });
    return found != libraries.end() ? *found : libraries.front();
}

/** "on display :0", for a client that runs. */
std::string where_is(const steam::SteamClient& client) {
    const ProcessDisplay display = client.pid > 0 ? display_of(client.pid) : ProcessDisplay{};
    std::string where = client.pid > 0 ? std::format("pid {}", client.pid) : "in its sandbox";
    if (!display.session.empty()) {
        where += std::format(", in the session '{}'", display.session);
    } else if (!display.display.empty()) {
        where += std::format(", on display {}", display.display);
    }
    return where;
}

Result<void> check_state(const SteamTitle& title, LaunchMethod method, bool client_runs) {
    switch (title.state) {
        case TitleState::installed:
            return {};
        case TitleState::update_required:
            // A client that we start brings it up to date, and says how far it is.
            if (method != LaunchMethod::direct && !client_runs) {
                return {};
            }
            break;
        case TitleState::running:
            return fail(Fault::busy, steam::describe(title));
        case TitleState::disk_missing:
        case TitleState::not_installed:
        case TitleState::files_missing:
            return fail(Fault::not_found, steam::describe(title));
        case TitleState::updating:
        case TitleState::validating:
        case TitleState::uninstalling:
            break;
    }
    return fail(Fault::busy, steam::describe(title));
}

Result<void> check_client(const SteamLibrary& library, const SteamTitle& title) {
    if (library.client.running()) {
        return fail(Fault::busy,
                    std::format("a Steam client already runs ({}): it would take the launch over, "
                                "and the windows of {} would appear there, not in this capture; "
                                "close that client, or use launch-method=direct",
                                where_is(library.client), title.label()));
    }
    if (library.users.empty() || !library.users.front().remembers_login) {
        return fail(Fault::permission,
                    std::format("the Steam client has no account to log in with: {}; start Steam "
                                "once, log in and let it remember the password, or use "
                                "launch-method=direct",
                                library.users.empty() ? "nobody has logged in here"
                                                      : "it would ask for the password"));
    }
    return {};
}

/** A client that runs keeps new launches to itself; what needs none of it is started directly. */
LaunchMethod chosen_method(LaunchMethod wanted, const SteamLibrary& library) {
    if (wanted != LaunchMethod::automatic) {
        return wanted;
    }
    return library.client.running() ? LaunchMethod::direct : LaunchMethod::client;
}

Result<LaunchPlan> plan_title(const LaunchSettings& settings,
                              const std::vector<std::string>& arguments,
                              const steam::SteamEnvironment& environment) {
    auto libraries = steam::load_libraries(environment);
    if (!libraries) {
        return std::unexpected(libraries.error());
    }
    auto found = steam::find_title(
        *libraries, settings.app_id != 0 ? std::to_string(settings.app_id) : settings.title);
    if (!found) {
        return std::unexpected(found.error());
    }
    const SteamTitle& title = **found;
    const SteamLibrary& library = library_of(*libraries, title);
    LaunchPlan plan;
    plan.label = title.label();
    plan.method = chosen_method(settings.method, library);
    plan.title = PlannedTitle{title, library.installation, library.client.running()};
    if (auto state = check_state(title, plan.method, library.client.running()); !state) {
        return std::unexpected(state.error());
    }
    if (title.tool) {
        return usage(std::format("{} is a tool; there is nothing to play", title.label()));
    }
    if (plan.by_client()) {
        if (settings.lockstep) {
            return usage(
                "mode=lockstep can't be with the Steam client inside: its time would stand still, "
                "too; use launch-method=direct");
        }
        if (auto client = check_client(library, title); !client) {
            return std::unexpected(client.error());
        }
    }
    auto launch = plan.by_client() ? steam::client_launch(library.installation, title, arguments,
                                                          plan.method == LaunchMethod::uri)
                                   : steam::direct_launch(*libraries, title, arguments);
    if (!launch) {
        const bool no_choice = settings.method == LaunchMethod::automatic && !plan.by_client();
        return fail(launch.error().fault,
                    no_choice ? std::format("a Steam client already runs ({}), so its windows "
                                            "would appear there; and without it: {}",
                                            where_is(library.client), launch.error().message)
                              : launch.error().message);
    }
    plan.launch = std::move(*launch);
    return plan;
}

}  // namespace

Result<LaunchPlan> plan_launch(const LaunchSettings& settings,
                               const steam::SteamEnvironment& environment) {
    if (auto what = check_what(settings); !what) {
        return std::unexpected(what.error());
    }
    auto arguments = in_property("args", steam::split_words(settings.args));
    if (!arguments) {
        return std::unexpected(arguments.error());
    }
    auto changes = in_property("env", steam::parse_environment(settings.env));
    if (!changes) {
        return std::unexpected(changes.error());
    }
    auto plan = settings.command.empty() ? plan_title(settings, *arguments, environment)
                                         : plan_command(settings, *arguments);
    if (!plan) {
        return plan;
    }
    auto& own = plan->launch.environment;
    own.insert(own.end(), changes->begin(), changes->end());
    if (!settings.working_directory.empty()) {
        plan->launch.working_directory = settings.working_directory;
    }
    return plan;
}

}  // namespace stepscope
