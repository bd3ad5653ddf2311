// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/wait.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/support/steam_fixture.hpp"

using namespace stepscope;

namespace {

struct Outcome {
    int status = -1;
    std::string output;
    std::string errors;
};

/** Runs the built stepscope-games with the fixture's home; `arguments` is shell text. */
Outcome games(const test::SteamFixture& fixture, const std::string& arguments) {
    std::string errors = fixture.base + "/errors";
    std::string command = "env -u XDG_DATA_HOME -u STEPSCOPE_STEAM_ROOT LC_ALL=C.UTF-8 HOME='" +
                          fixture.home + "' \"$STEPSCOPE_GAMES\" " + arguments + " 2>'" + errors +
                          "'";
    Outcome outcome;
    FILE* pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    char buffer[4096];
    for (size_t got = 0; (got = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
        outcome.output.append(buffer, got);
    }
    int status = ::pclose(pipe);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    std::ifstream file(errors, std::ios::binary);
    outcome.errors.assign(std::istreambuf_iterator<char>(file), {});
    return outcome;
}

}  // namespace

TEST_CASE("the table lists titles; what was wrong goes to standard error") {
    test::SteamFixture fixture;
    auto outcome = games(fixture, "");
    INFO(outcome.output << outcome.errors);
    CHECK(outcome.status == 0);
    CHECK(outcome.output.starts_with("    APP ID  NAME"));
    // Columns line up, also where letters take two columns or several bytes.
    CHECK(outcome.output.contains(
        "       620  Portal 2                   installed         8942367   12.9 GB  native "));
    CHECK(outcome.output.contains(
        "    900001  Pâtisserie™ – 菓子 & \"Co\"  installed              42  123.5 kB  proton "));
    CHECK(outcome.output.contains(
        "   1245620  ?                          disk-missing            -         -  -  "));
    CHECK(outcome.output.contains("proton (GE-Proton9-20)"));
    CHECK(outcome.output.contains("(shortcut)\n"));
    CHECK_FALSE(outcome.output.contains("Proton 9.0"));
    CHECK(outcome.errors.contains("warning: " + fixture.disk +
                                  "/steamapps/appmanifest_900002.acf, line 4"));
    CHECK(outcome.errors.contains("Steam Library' isn't there; mount its disk"));
}

TEST_CASE("filters") {
    test::SteamFixture fixture;
    auto ready = games(fixture, "--installed");
    CHECK(ready.output.contains("Portal 2"));
    CHECK_FALSE(ready.output.contains("Hades"));
    CHECK_FALSE(ready.output.contains("disk-missing"));
    CHECK(games(fixture, "--tools").output.contains("Proton 9.0"));
    CHECK_FALSE(games(fixture, "--no-shortcuts").output.contains("Freedoom"));
}

TEST_CASE("JSON") {
    test::SteamFixture fixture;
    auto outcome = games(fixture, "--json");
    REQUIRE(outcome.status == 0);
    auto json = nlohmann::json::parse(outcome.output);
    CHECK(json["installations"][0]["root"] == fixture.root);
    CHECK(json["installations"][0]["folders"].size() == 3);
    CHECK(json["warnings"].size() == 1);
    CHECK_FALSE(outcome.output.contains("player"));  // account names stay here
    bool seen = false;
    for (const auto& title : json["titles"]) {
        if (title["app-id"] == 1145360) {
            seen = true;
            CHECK(title["state"] == "update-required");
            CHECK(title["build-id"] == "9000001");
            CHECK(title["target-build-id"] == "9000002");
            CHECK(title["state-flags"]["value"] == 1030);
            CHECK(title["state-flags"]["names"].size() == 3);
        }
    }
    CHECK(seen);
    auto one = nlohmann::json::parse(games(fixture, "--json 'doom freedoom'").output);
    CHECK(one["kind"] == "shortcut");
    CHECK(one["run-game-id"] == "17375808096043008000");
}

TEST_CASE("names that are no UTF-8 or steer a terminal do no harm") {
    test::SteamFixture fixture;
    fixture.write(fixture.disk + "/steamapps/appmanifest_7.acf",
                  "AppState { appid 7 name \"\xff\x1b[2J\" StateFlags 4 installdir x }");
    auto table = games(fixture, "");
    CHECK(table.status == 0);
    CHECK(table.output.contains("\ufffd\ufffd[2J"));
    CHECK_FALSE(table.output.contains('\x1b'));
    auto json = games(fixture, "--json");
    CHECK(json.status == 0);
    CHECK(nlohmann::json::accept(json.output));
}

TEST_CASE("one title") {
    test::SteamFixture fixture;
    auto outcome = games(fixture, "hades");
    CHECK(outcome.status == 0);
    CHECK(outcome.output.starts_with(
        "Hades (1145360) needs an update (build 9000001 to 9000002, 1.2 GB of 3.0 GB downloaded); "
        "let the Steam client finish it\n"));
    CHECK(outcome.output.contains("steam://rungameid/1145360"));
    CHECK(outcome.output.contains("1030 (update required, fully installed, update started)"));
    auto wrong = games(fixture, "hadez");
    CHECK(wrong.status == 1);
    CHECK(wrong.output.empty());
    CHECK(wrong.errors.contains("did you mean Hades (1145360)?"));
}

TEST_CASE("exit status and messages") {
    test::SteamFixture fixture;
    auto help = games(fixture, "--help");
    CHECK(help.status == 0);
    CHECK(help.output.contains("--steam-root DIR"));
    CHECK(games(fixture, "--version").output == "0.1.0\n");
    auto usage = games(fixture, "--nonsense");
    CHECK(usage.status == 2);
    CHECK(usage.errors.contains("--nonsense"));
    auto root = games(fixture, "--steam-root '" + fixture.old + "'");
    CHECK(root.status == 0);
    CHECK(root.output.contains("Dota 2"));
    CHECK_FALSE(root.output.contains("Portal 2"));
    auto nothing = games(fixture, "--steam-root /proc/self");
    CHECK(nothing.status == 1);
    CHECK(nothing.errors ==
          "stepscope-games: expected a Steam installation (a folder with steamapps, config or "
          "userdata in it) at '/proc/self', got a folder without them; name the folder that holds "
          "steamapps\n");
    std::filesystem::remove_all(fixture.home);
    auto none = games(fixture, "");
    CHECK(none.status == 1);
    CHECK(none.errors.starts_with("stepscope-games: no Steam installation found; looked at " +
                                  fixture.home + "/.steam/root, "));
    CHECK(none.errors.contains("STEPSCOPE_STEAM_ROOT"));
}
