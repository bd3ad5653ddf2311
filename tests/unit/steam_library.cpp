// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam/steam_library.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>

#include "tests/support/steam_fixture.hpp"

using namespace stepscope;
using namespace stepscope::steam;
namespace fs = std::filesystem;

namespace {

std::vector<SteamLibrary> load(const SteamEnvironment& environment) {
    auto libraries = load_libraries(environment);
    REQUIRE(libraries);
    return std::move(*libraries);
}

const SteamTitle& title(const SteamLibrary& library, uint32_t app_id) {
    auto found = std::ranges::find(library.titles, app_id, &SteamTitle::app_id);
    INFO("app id " << app_id);
    REQUIRE(found != library.titles.end());
    return *found;
}

std::string find_error(const std::vector<SteamLibrary>& libraries, std::string_view wanted) {
    auto found = find_title(libraries, wanted);
    REQUIRE_FALSE(found);
    return found.error().message;
}

}  // namespace

TEST_CASE("library folders of both formats") {
    auto current = parse_vdf_text(R"("libraryfolders" { "contentstatsid" "1"
        "0" { "path" "/a b" "label" "x" "apps" { "1" "10" "2" "20" } }
        "1" { "path" "/c" } "2" { "label" "without a path" } "x" { "path" "/d" } })");
    REQUIRE(current);
    auto folders = read_library_folders(*current);
    REQUIRE(folders.size() == 2);
    CHECK(folders[0].path == "/a b");
    CHECK(folders[0].label == "x");
    CHECK(folders[0].app_ids == std::vector<uint64_t>{1, 2});
    CHECK(folders[1].path == "/c");
    auto old =
        parse_vdf_text(R"("LibraryFolders" { "TimeNextStatsReport" "1" "1" "/a" "2" "/b" })");
    REQUIRE(old);
    folders = read_library_folders(*old);
    REQUIRE(folders.size() == 2);
    CHECK(folders[1].path == "/b");
    CHECK(folders[1].app_ids.empty());
    CHECK(read_library_folders({}).empty());
}

TEST_CASE("a whole installation") {
    test::SteamFixture fixture;
    auto libraries = load(fixture.environment());
    REQUIRE(libraries.size() == 1);
    const SteamLibrary& library = libraries.front();

    REQUIRE(library.folders.size() == 3);
    CHECK(library.folders[0].path == fixture.root);
    CHECK(library.folders[0].present);
    CHECK(library.folders[1].path == fixture.disk);
    CHECK(library.folders[1].label == "Jeux");
    CHECK(library.folders[1].present);
    CHECK(library.folders[2].path == fixture.missing + "/Steam Library");
    CHECK_FALSE(library.folders[2].present);

    const auto& portal = title(library, 620);
    CHECK(portal.name == "Portal 2");
    CHECK(portal.state == TitleState::installed);
    CHECK(portal.library == fixture.root);
    CHECK(portal.install_path == fixture.root + "/steamapps/common/Portal 2");
    CHECK(portal.manifest.build_id == 8942367);
    CHECK(portal.runtime == Runtime::native);
    CHECK(portal.launch_options == "LD_PRELOAD=\"\" gamemoderun %command% -novid");
    CHECK_FALSE(portal.tool);

    const auto& half_life = title(library, 220);
    CHECK(half_life.state == TitleState::installed);
    CHECK(half_life.runtime == Runtime::proton);
    CHECK(half_life.compat_tool == "GE-Proton9-20");
    CHECK(half_life.launch_options.empty());

    const auto& bakery = title(library, 900001);
    CHECK(bakery.name == "Pâtisserie™ – 菓子 & \"Co\"");
    CHECK(bakery.state == TitleState::installed);
    CHECK(bakery.runtime == Runtime::proton);
    CHECK(bakery.compat_tool == "proton_experimental");

    CHECK(title(library, 1145360).state == TitleState::update_required);
    CHECK(title(library, 570).state == TitleState::update_required);
    CHECK(describe(title(library, 570)).contains("only partly installed"));
    CHECK(title(library, 427520).state == TitleState::files_missing);
    CHECK(title(library, 427520).runtime == Runtime::linux_runtime);
    CHECK(title(library, 2805730).tool);
    CHECK(title(library, 228980).tool);

    const auto& elden = title(library, 1245620);
    CHECK(elden.state == TitleState::disk_missing);
    CHECK(elden.name.empty());
    CHECK(elden.runtime == Runtime::unknown);
    CHECK(describe(elden) == "app 1245620 is in the library '" + fixture.missing +
                                 "/Steam Library', which isn't there; mount its disk");
    // Also listed on the missing disk, but installed on another one.
    CHECK(std::ranges::count(library.titles, 620u, &SteamTitle::app_id) == 1);

    REQUIRE(library.users.size() == 2);
    CHECK(library.users.front().account_name == "player");
    CHECK(library.users.front().account_id() == 22202);
    CHECK(library.users.front().most_recent);
    CHECK(library.users.front().remembers_login);
    CHECK_FALSE(library.users.back().most_recent);

    REQUIRE(library.warnings.size() == 1);
    CHECK(library.warnings.front() ==
          fixture.disk +
              "/steamapps/appmanifest_900002.acf, line 4: expected '\"' to close the "
              "string that starts here, got the end of the file");
}

TEST_CASE("shortcuts") {
    test::SteamFixture fixture;
    auto libraries = load(fixture.environment());
    const auto& doom = title(libraries.front(), 0xf1234567);
    CHECK(doom.shortcut);
    CHECK(doom.name == "Doom (Freedoom)");
    CHECK(doom.executable == "/bin/sh");
    CHECK(doom.install_path == "/usr/games");
    CHECK(doom.launch_options == "-iwad /usr/share/games/doom/freedoom1.wad");
    CHECK(doom.state == TitleState::installed);
    CHECK(doom.run_game_id() == (uint64_t{0xf1234567} << 32 | 0x02000000));
    std::string executable = fixture.disk + "/gone/Spiel.exe";
    const auto& gone =
        title(libraries.front(), shortcut_app_id("\"" + executable + "\"", "Altes Spiel – Größe"));
    CHECK(gone.executable == executable);
    CHECK(gone.state == TitleState::files_missing);
    CHECK(gone.runtime == Runtime::proton);
}

TEST_CASE("an old installation") {
    test::SteamFixture fixture;
    auto environment = fixture.environment();
    environment.root = fixture.old;
    auto libraries = load(environment);
    const SteamLibrary& library = libraries.front();
    REQUIRE(library.folders.size() == 3);
    CHECK(library.folders[1].path == fixture.disk);
    CHECK_FALSE(library.folders[2].present);
    CHECK(library.users.empty());
    CHECK(std::ranges::count(library.titles, 570u, &SteamTitle::app_id) == 2);
    // Both libraries have one; the one that can be started is meant.
    auto dota = find_title(libraries, "dota 2");
    REQUIRE(dota);
    CHECK((*dota)->library == fixture.old);
    CHECK((*dota)->install_path == fixture.old + "/SteamApps/common/dota 2");
}

TEST_CASE("states follow the processes") {
    test::SteamFixture fixture;
    fixture.add_process(11, "reaper", "/x/reaper SteamLaunch AppId=620 -- /bin/portal2");
    fixture.add_process(12, "reaper", "/x/reaper SteamLaunch AppId=4045620583 -- /bin/sh");
    auto reader = fixture.listen_as_client();
    auto libraries = load(fixture.environment());
    CHECK(libraries.front().client.running());
    CHECK(libraries.front().client.logged_on == true);
    CHECK(title(libraries.front(), 620).state == TitleState::running);
    CHECK(title(libraries.front(), 4045620583).state == TitleState::running);
    CHECK(title(libraries.front(), 1145360).state == TitleState::updating);
}

TEST_CASE("an empty mount point is a missing disk, and the disk may come back") {
    test::SteamFixture fixture;
    fs::create_directories(fixture.missing + "/Steam Library");
    CHECK_FALSE(load(fixture.environment()).front().folders[2].present);
    fixture.write(fixture.missing + "/Steam Library/steamapps/appmanifest_1245620.acf",
                  "AppState { appid 1245620 name \"ELDEN RING\" StateFlags 4 installdir x }");
    auto libraries = load(fixture.environment());
    CHECK(libraries.front().folders[2].present);
    CHECK(title(libraries.front(), 1245620).state == TitleState::files_missing);
}

TEST_CASE("a sandboxed client's paths are found where they lie") {
    test::SteamFixture fixture;
    std::string sandbox = fixture.home + "/.var/app/com.valvesoftware.Steam";
    std::string root = sandbox + "/.local/share/Steam";
    fixture.write(root + "/steamapps/libraryfolders.vdf",
                  "libraryfolders { 0 { path \"" + fixture.home +
                      "/.local/share/Steam\" } 1 { path \"" + fixture.home + "/Games\" } }");
    fixture.write(sandbox + "/Games/steamapps/appmanifest_1.acf",
                  "AppState { appid 1 name One StateFlags 4 installdir One }");
    fs::remove_all(fixture.root);
    auto libraries = load(fixture.environment());
    REQUIRE(libraries.size() == 1);
    REQUIRE(libraries.front().folders.size() == 2);
    CHECK(libraries.front().folders[0].path == root);
    CHECK(libraries.front().folders[1].path == sandbox + "/Games");
    CHECK(title(libraries.front(), 1).name == "One");
}

TEST_CASE("broken files become warnings, and the rest is still read") {
    test::SteamFixture fixture;
    for (const char* file :
         {"/config/config.vdf", "/config/loginusers.vdf", "/config/libraryfolders.vdf",
          "/userdata/22202/config/shortcuts.vdf", "/userdata/22202/config/localconfig.vdf"}) {
        fixture.write(fixture.root + file, "\"open");
    }
    auto libraries = load(fixture.environment());
    const SteamLibrary& library = libraries.front();
    CHECK(library.warnings.size() == 6);
    CHECK(library.folders.size() == 3);
    CHECK(title(library, 620).state == TitleState::installed);
    CHECK(library.users.empty());
}

TEST_CASE("titles are found by id, game id and name") {
    test::SteamFixture fixture;
    auto libraries = load(fixture.environment());
    auto found = [&](std::string_view wanted) {
        auto result = find_title(libraries, wanted);
        INFO(wanted << ": " << (result ? "" : result.error().message));
        REQUIRE(result);
        return (*result)->app_id;
    };
    CHECK(found("620") == 620);
    CHECK(found("Portal 2") == 620);
    CHECK(found("portal2") == 620);
    CHECK(found("HALF LIFE 2") == 220);
    CHECK(found("pâtisserie 菓子 co") == 900001);
    CHECK(found("doom freedoom") == 0xf1234567);
    CHECK(found(std::to_string(run_game_id(0xf1234567, true))) == 0xf1234567);
    CHECK(found("1245620") == 1245620);
}

TEST_CASE("a title that isn't there: near matches and missing disks") {
    test::SteamFixture fixture;
    auto libraries = load(fixture.environment());
    std::string missing = " It may also be in '" + fixture.missing +
                          "/Steam Library', which isn't there; mount its disk";
    CHECK(find_error(libraries, "portel 2") ==
          "no title 'portel 2' in the Steam libraries; did you mean Portal 2 (620)?" + missing);
    CHECK(find_error(libraries, "half life") ==
          "no title 'half life' in the Steam libraries; did you mean Half-Life 2 (220)?" + missing);
    CHECK(find_error(libraries, "proton") ==  // a tool is nothing to play
          "no title 'proton' in the Steam libraries; 'stepscope-games' lists what there is" +
              missing);
    CHECK(find_error(libraries, "999").starts_with("no title '999' in the Steam libraries"));
    CHECK_FALSE(find_title(libraries, ""));
    CHECK_FALSE(find_title(libraries, "™"));
    CHECK_FALSE(find_title({}, "620"));
}

TEST_CASE("a name of several titles is not guessed") {
    test::SteamFixture fixture;
    fixture.write(fixture.disk + "/steamapps/appmanifest_621.acf",
                  "AppState { appid 621 name \"PORTAL-2\" StateFlags 4 installdir x }");
    fixture.write(fixture.disk + "/steamapps/appmanifest_622.acf",
                  "AppState { appid 622 name \"2048\" StateFlags 4 installdir x }");
    auto libraries = load(fixture.environment());
    auto both = find_title(libraries, "portal 2");
    REQUIRE_FALSE(both);
    CHECK(both.error().fault == Fault::usage);
    CHECK(both.error().message ==
          "'portal 2' names several titles: PORTAL-2 (621), Portal 2 (620); use the app id");
    auto number = find_title(libraries, "2048");
    REQUIRE(number);
    CHECK((*number)->app_id == 622);
}
