// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>

#include "steam/app_info.hpp"
#include "steam/compat_tool.hpp"
#include "steam/launch_command.hpp"
#include "tests/support/steam_fixture.hpp"

using namespace stepscope;
using namespace stepscope::steam;
namespace fs = std::filesystem;
using Words = std::vector<std::string>;

namespace {

const std::string kCorpus = STEPSCOPE_APP_INFO;

std::vector<SteamLibrary> load(const test::SteamFixture& fixture) {
    auto libraries = load_libraries(fixture.environment());
    REQUIRE(libraries);
    return std::move(*libraries);
}

SteamTitle& title(std::vector<SteamLibrary>& libraries, uint32_t app_id) {
    auto& titles = libraries.front().titles;
    auto found = std::ranges::find(titles, app_id, &SteamTitle::app_id);
    REQUIRE(found != titles.end());
    return *found;
}

std::string variable(const LaunchCommand& launch, const std::string& name) {
    auto found = std::ranges::find(launch.environment, name, &EnvironmentChange::name);
    return found != launch.environment.end() ? found->value : "";
}

void make_executable(const test::SteamFixture& fixture, const std::string& path) {
    fixture.write(path, "#!/bin/sh\n");
    fs::permissions(path, fs::perms::owner_all);
}

}  // namespace

TEST_CASE("a line is split as by a shell") {
    auto words = [](std::string_view text) {
        auto result = split_words(text);
        REQUIRE(result);
        return *result;
    };
    CHECK(words("").empty());
    CHECK(words(" \t\n").empty());
    CHECK(words("a  b\tc") == Words{"a", "b", "c"});
    CHECK(words("a 'b  c' \"d 'e'\"f ''") == Words{"a", "b  c", "d 'e'f", ""});
    CHECK(words(R"(a\ b "c\"d\n" 'e\f' \\)") == Words{"a b", R"(c"d\n)", R"(e\f)", "\\"});
    CHECK(words("$HOME *") == Words{"$HOME", "*"});
    CHECK_FALSE(split_words("a 'b"));
    CHECK(split_words("a \"b").error().message.contains("closing \""));
    for (const Words& each : {Words{"a", "b c", "", "it's", "$x"}, Words{"\\", "\""}}) {
        CHECK(words(join_words(each)) == each);
    }
}

TEST_CASE("changes of the environment") {
    auto changes = parse_environment("A=1 B='b c' -C D= E=x=y");
    REQUIRE(changes);
    CHECK(*changes == std::vector<EnvironmentChange>{{"A", "1", false},
                                                     {"B", "b c", false},
                                                     {"C", "", true},
                                                     {"D", "", false},
                                                     {"E", "x=y", false}});
    for (const char* wrong : {"A", "=1", "1A=2", "A-B=1", "-", "--A", "'A"}) {
        CAPTURE(wrong);
        CHECK_FALSE(parse_environment(wrong));
    }
    CHECK(percent_decoded("a%20b%2Fc%") == "a b/c%");
    CHECK(percent_decoded("%zz%4") == "%zz%4");
}

TEST_CASE("launch entries in all versions") {
    for (const char* version : {"27", "28", "29"}) {
        CAPTURE(version);
        const std::string path = kCorpus + "/version-" + version;
        auto entries = load_launch_entries(path, 620);
        REQUIRE(entries);
        REQUIRE(entries->size() == 3);
        auto native = default_entry(*entries, "linux");
        REQUIRE(native);
        CHECK(native->executable == "portal2.sh");
        CHECK(native->arguments == "-a \"b c\"");
        CHECK(native->working_directory == "bin");
        CHECK(default_entry(*entries, "windows")->executable == "portal2.exe");
        CHECK_FALSE(default_entry(*entries, "macos"));
        auto other = load_launch_entries(path, 8);
        REQUIRE_FALSE(other);
        CHECK(other.error().fault == Fault::not_found);
        CHECK(other.error().message == path + ", there is nothing on app 8");
    }
    for (const char* broken : {"cut", "cut-table", "table-beyond", "table-negative", "many-keys",
                               "size-beyond", "size-small", "other-magic", "empty"}) {
        CAPTURE(broken);
        CHECK_FALSE(load_launch_entries(kCorpus + "/" + broken, 620));
    }
}

TEST_CASE("which entry is the default") {
    auto chosen = [](const std::vector<LaunchEntry>& entries, std::string_view system) {
        auto found = default_entry(entries, system);
        return found ? found->executable : std::string();
    };
    CHECK(chosen({{.executable = "a.exe"}, {.executable = "a"}}, "linux") == "a");
    CHECK(chosen({{.executable = "a.exe"}, {.executable = "a"}}, "windows") == "a.exe");
    CHECK(chosen({{.executable = "server", .type = "server", .systems = "linux"},
                  {.executable = "game", .systems = "windows,linux"}},
                 "linux") == "game");
    CHECK(chosen({{.executable = "a32", .systems = "linux", .bits = "32"},
                  {.executable = "a64", .systems = "linux", .bits = "64"}},
                 "linux") == "a64");
    CHECK(chosen({{.executable = "a", .systems = "linux", .beta_key = "x"}}, "linux").empty());
    CHECK(chosen({}, "linux").empty());
}

TEST_CASE("a title started by the client") {
    test::SteamFixture fixture;
    auto libraries = load(fixture);
    const auto& installation = libraries.front().installation;
    ::setenv("PATH", (fixture.base + "/bin").c_str(), 1);
    auto launch = [&](uint32_t app_id, const Words& arguments, bool by_uri) {
        return client_launch(installation, title(libraries, app_id), arguments, by_uri);
    };
    REQUIRE_FALSE(launch(620, {}, false));
    CHECK(launch(620, {}, false).error().message.contains("no program 'steam'"));
    make_executable(fixture, fixture.root + "/steam.sh");
    CHECK(launch(620, {}, false)->words.front() == fixture.root + "/steam.sh");
    const std::string steam = fixture.base + "/bin/steam";
    make_executable(fixture, steam);
    CHECK(launch(620, {"-a", "b c"}, false)->words ==
          Words{steam, "-silent", "-applaunch", "620", "-a", "b c"});
    CHECK(launch(620, {}, true)->words == Words{steam, "-silent", "steam://rungameid/620"});
    CHECK(launch(0xf1234567, {}, false)->words ==
          Words{steam, "-silent", "steam://rungameid/17375808096043008000"});
    CHECK_FALSE(launch(620, {"-a"}, true));
    SteamInstallation flatpak = installation;
    flatpak.packaging = Packaging::flatpak;
    CHECK(client_launch(flatpak, title(libraries, 620), {}, false)->words.front() == "flatpak");
}

TEST_CASE("a title started directly") {
    test::SteamFixture fixture;
    auto libraries = load(fixture);
    SteamTitle& portal = title(libraries, 620);
    portal.launch_options.clear();
    auto unknown = direct_launch(libraries, portal, {});
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().message.contains("appinfo.vdf"));
    fs::create_directories(fixture.root + "/appcache");
    fs::copy_file(kCorpus + "/version-29", fixture.root + "/appcache/appinfo.vdf");
    make_executable(fixture, portal.install_path + "/portal2.sh");
    auto launch = direct_launch(libraries, portal, {"-x"});
    REQUIRE(launch);
    CHECK(launch->words == Words{portal.install_path + "/portal2.sh", "-a", "b c", "-x"});
    CHECK(launch->working_directory == portal.install_path + "/bin");
    CHECK(variable(*launch, "SteamAppId") == "620");
    fs::remove(portal.install_path + "/portal2.sh");
    CHECK(direct_launch(libraries, portal, {}).error().message.contains("verify its files"));
    // A manifest that leads elsewhere.
    portal.install_path += "/..";
    portal.runtime = Runtime::native;
    CHECK_FALSE(direct_launch(libraries, portal, {}));
    auto doom = direct_launch(libraries, title(libraries, 0xf1234567), {"-warp"});
    REQUIRE(doom);
    CHECK(doom->words == Words{"/bin/sh", "-warp", "-iwad", "/usr/share/games/doom/freedoom1.wad"});
}

TEST_CASE("tools in front") {
    test::SteamFixture fixture;
    auto& base = fixture.root;
    auto manifest = [&](uint32_t id, const std::string& name, const std::string& tool) {
        fixture.write(base + "/steamapps/appmanifest_" + std::to_string(id) + ".acf",
                      "AppState { appid " + std::to_string(id) + " name \"" + name +
                          "\" StateFlags 4 installdir \"" + name + "\" }");
        fixture.write(base + "/steamapps/common/" + name + "/toolmanifest.vdf", tool);
    };
    manifest(1628350, "Steam Linux Runtime 3.0 (sniper)",
             "manifest { commandline \"/_v2-entry-point --verb=%verb% --\" }");
    manifest(1493710, "Proton - Experimental",
             "manifest { commandline \"/proton %verb%\" require_tool_appid 1628350 }");
    manifest(1245040, "Proton 5.0", "manifest { commandline \"/proton %verb%\" }");
    manifest(1420170, "Proton 5.13",
             "manifest { commandline \"/proton run\" require_tool_appid 5 }");
    auto libraries = load(fixture);
    const std::string common = base + "/steamapps/common/";
    auto folder = [&](const std::string& name) {
        auto found = find_compat_tool(libraries, name);
        return found ? *found : found.error().message;
    };
    CHECK(folder("proton_experimental") == common + "Proton - Experimental");
    CHECK(folder("proton_5") == common + "Proton 5.0");
    CHECK(folder("proton_513") == common + "Proton 5.13");
    CHECK(folder("proton_9") == common + "Proton 9.0");
    CHECK(folder("") == common + "Proton 9.0");
    CHECK(folder("steamlinuxruntime_sniper") == common + "Steam Linux Runtime 3.0 (sniper)");
    CHECK(folder("GE-Proton9-20").contains("isn't installed"));
    fixture.write(base + "/compatibilitytools.d/x/compatibilitytool.vdf",
                  "compatibilitytools { compat_tools { GE-Proton9-20 { install_path . } } }");
    CHECK(folder("GE-Proton9-20").starts_with(base + "/compatibilitytools.d/x"));

    auto words = compat_tool_words(libraries, common + "Proton - Experimental");
    REQUIRE(words);
    CHECK(*words == Words{common + "Steam Linux Runtime 3.0 (sniper)/_v2-entry-point",
                          "--verb=waitforexitandrun", "--", common + "Proton - Experimental/proton",
                          "waitforexitandrun"});
    CHECK_FALSE(compat_tool_words(libraries, common + "Proton 5.13"));
    CHECK_FALSE(compat_tool_words(libraries, base));
}

TEST_CASE("launch options and the overlay") {
    auto wrapped = [](const std::string& options) { return *with_launch_options({"g"}, options); };
    CHECK(wrapped("") == Words{"g"});
    CHECK(wrapped("-a 'b c'") == Words{"g", "-a", "b c"});
    CHECK(wrapped("A=1 wrap %command% -x") ==
          Words{"/bin/sh", "-c", "A=1 wrap \"$@\" -x", "sh", "g"});
    CHECK_FALSE(with_launch_options({"g"}, "'open"));
    CHECK(without_overlay("").empty());
    CHECK(without_overlay(":/x/ubuntu12_32/gameoverlayrenderer.so:/x/gameoverlayrenderer.so")
              .empty());
    CHECK(without_overlay("/a.so /x/gameoverlayrenderer.so:/b.so") == "/a.so:/b.so");
}
