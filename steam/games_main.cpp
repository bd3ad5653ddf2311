// SPDX-License-Identifier: LGPL-2.1-or-later
#include <CLI/CLI.hpp>
#include <clocale>
#include <filesystem>
#include <format>
#include <iostream>
#include <nlohmann/json.hpp>

#include "games_report.hpp"
#include "unicode.hpp"

namespace {

using namespace stepscope;
using namespace stepscope::steam;

constexpr int kNotFound = 1;
constexpr int kUsage = 2;

struct Options {
    std::string title;
    std::string steam_root;
    bool json = false;
    bool installed = false;
    bool tools = false;
    bool no_shortcuts = false;
};

void print_json(const nlohmann::json& json) {
    // Names come from files; what is no UTF-8 in them must not end the program.
    constexpr int kIndent = 2;
    std::cout << json.dump(kIndent, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

int report(const Error& error) {
    std::cerr << "stepscope-games: " << printable(error.message) << "\n";
    return error.fault == Fault::usage ? kUsage : kNotFound;
}

bool is_wanted(const SteamTitle& title, const Options& options) {
    if (title.tool && !options.tools) {
        return false;
    }
    if (title.shortcut && options.no_shortcuts) {
        return false;
    }
    bool ready = title.state == TitleState::installed || title.state == TitleState::running;
    return ready || !options.installed;
}

int show_one(const std::vector<SteamLibrary>& libraries, const Options& options) {
    auto title = find_title(libraries, options.title);
    if (!title) {
        return report(title.error());
    }
    if (options.json) {
        print_json(title_json(**title));
    } else {
        std::cout << title_details(**title);
    }
    return 0;
}

void list_all(const std::vector<SteamLibrary>& libraries, const Options& options) {
    std::vector<const SteamTitle*> titles;
    for (const auto& library : libraries) {
        for (const auto& title : library.titles) {
            if (is_wanted(title, options)) {
                titles.push_back(&title);
            }
        }
    }
    if (options.json) {
        print_json(libraries_json(libraries, titles));
        return;
    }
    if (titles.empty()) {
        std::cerr << "stepscope-games: no titles; install one in the Steam client\n";
        return;
    }
    std::cout << titles_table(titles);
    for (const auto& library : libraries) {
        for (const auto& folder : library.folders) {
            if (!folder.present) {
                std::cerr << std::format(
                    "stepscope-games: the library '{}' isn't there; mount its disk to see its "
                    "titles\n",
                    printable(folder.path));
            }
        }
    }
}

int run(const Options& options) {
    auto environment = SteamEnvironment::from_process();
    if (!options.steam_root.empty()) {
        environment.root = options.steam_root;
    }
    auto libraries = load_libraries(environment);
    if (!libraries) {
        return report(libraries.error());
    }
    for (const auto& library : *libraries) {
        for (const auto& warning : library.warnings) {
            std::cerr << "stepscope-games: warning: " << printable(warning) << "\n";
        }
    }
    if (!options.title.empty()) {
        return show_one(*libraries, options);
    }
    list_all(*libraries, options);
    return 0;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-exception-escape): CLI11 throws if the options below could not be
int main(int argc, char** argv) {
    std::setlocale(LC_CTYPE, "");
    Options options;
    CLI::App app("Lists the titles of the Steam libraries of this machine.", "stepscope-games");
    app.add_option("title", options.title, "show this one only: an app id or a name");
    app.add_flag("--json", options.json, "print JSON instead of a table");
    app.add_option("--steam-root", options.steam_root,
                   "the Steam installation to look at: the folder that holds steamapps [env: "
                   "STEPSCOPE_STEAM_ROOT]")
        ->type_name("DIR");
    app.add_flag("--installed", options.installed, "only titles that can be started now");
    app.add_flag("--tools", options.tools, "also Proton, runtimes and redistributables");
    app.add_flag("--no-shortcuts", options.no_shortcuts, "without non-Steam titles");
    app.set_version_flag("--version", STEPSCOPE_VERSION);
    app.footer(
        "Exit status: 0 done, 1 no Steam or no such title, 2 wrong usage.\n"
        "Example: stepscope-games \"portal 2\"");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }
    return run(options);
}
