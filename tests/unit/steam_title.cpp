// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam/title.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

using namespace stepscope;
using namespace stepscope::steam;

namespace {

Result<AppManifest> manifest_of(std::string_view text) {
    auto root = parse_vdf_text(text);
    REQUIRE(root);
    return read_app_manifest(*root);
}

SteamTitle title_with(TitleState state) {
    SteamTitle title;
    title.app_id = 620;
    title.name = "Portal 2";
    title.state = state;
    title.library = "/mnt/games";
    title.install_path = "/mnt/games/steamapps/common/Portal 2";
    return title;
}

}  // namespace

TEST_CASE("a manifest is read, and one that is none is refused") {
    auto manifest = manifest_of(R"("AppState" { "appid" "620" "name" "Portal 2" "StateFlags" "6"
        "InstallDir" "Portal 2" "buildid" "5" "TargetBuildID" "6" "SizeOnDisk" "7"
        "BytesToDownload" "8" "BytesDownloaded" "3" "LastUpdated" "9"
        "MountedConfig" { "platform_override_source" "windows" } })");
    REQUIRE(manifest);
    CHECK(manifest->app_id == 620);
    CHECK(manifest->name == "Portal 2");
    CHECK(manifest->install_dir == "Portal 2");
    CHECK(manifest->state_flags == 6);
    CHECK(manifest->build_id == 5);
    CHECK(manifest->target_build_id == 6);
    CHECK(manifest->size_on_disk == 7);
    CHECK(manifest->bytes_to_download == 8);
    CHECK(manifest->bytes_downloaded == 3);
    CHECK(manifest->last_updated == 9);
    CHECK(manifest->windows_files);

    for (const char* text : {"", "a b", "AppState x", "AppState {}", "AppState { appid 0 }",
                             "AppState { appid 4294967296 }", "AppState { appid x }"}) {
        CAPTURE(text);
        CHECK_FALSE(manifest_of(text));
    }
    for (const char* folder : {"..", ".", "../../home", "/etc", "a/b"}) {
        CAPTURE(folder);
        auto escape = manifest_of(std::string("AppState { appid 1 installdir ") + folder + " }");
        REQUIRE_FALSE(escape);
        CHECK(escape.error().message.contains("expected the name of a folder"));
    }
}

TEST_CASE("state flags have names") {
    CHECK(state_flag_names(0).empty());
    CHECK(state_flag_names(1030) ==
          std::vector<std::string>{"update required", "fully installed", "update started"});
    CHECK(state_flag_names(1u << 31 | 1u << 13) ==
          std::vector<std::string>{"app running", "bit 31"});
}

TEST_CASE("flags and surroundings make a state") {
    struct Row {
        uint32_t flags;
        TitleSurroundings surroundings;
        TitleState state;
    };
    constexpr TitleSurroundings kAlone{};
    constexpr TitleSurroundings kClient{.client_running = true};
    constexpr TitleSurroundings kNoFolder{.folder_exists = false};
    auto row = GENERATE_COPY(values<Row>({
        {4, kAlone, TitleState::installed},
        {4 | 16, kAlone, TitleState::installed},   // an optional update
        {4 | 64, kClient, TitleState::installed},  // "shared only", not "running"
        {4, kNoFolder, TitleState::files_missing},
        {4 | 32, kAlone, TitleState::files_missing},
        {4 | 128, kAlone, TitleState::files_missing},
        {4, {.title_running = true}, TitleState::running},
        {4 | 8192, kClient, TitleState::running},
        {4 | 8192, kAlone, TitleState::installed},  // left by a client that was killed
        {4 | 2, kAlone, TitleState::update_required},
        {4 | 8, kClient, TitleState::update_required},
        {1030, kAlone, TitleState::update_required},  // nobody works on it
        {1030, kClient, TitleState::updating},
        {1030 | 512, kClient, TitleState::update_required},  // paused
        {4 | 2 | 256 | 1024, kClient, TitleState::updating},
        {4 | 256 | (1 << 17), kClient, TitleState::validating},
        {4 | (1 << 17), kClient, TitleState::installed},  // means something else today
        {4 | (1 << 15), kClient, TitleState::updating},   // its folder is being moved
        {4 | 2048, kClient, TitleState::uninstalling},
        {1026, kNoFolder, TitleState::update_required},  // the first download has begun
        {2, kNoFolder, TitleState::update_required},
        {1, kNoFolder, TitleState::not_installed},
        {0, kAlone, TitleState::not_installed},
    }));
    CAPTURE(row.flags, row.surroundings.client_running);
    AppManifest manifest;
    manifest.state_flags = row.flags;
    CHECK(to_string(classify(manifest, row.surroundings)) == to_string(row.state));
}

TEST_CASE("a newer build that waits is an update") {
    AppManifest manifest;
    manifest.state_flags = state_flag::kFullyInstalled;
    manifest.build_id = 5;
    manifest.target_build_id = 5;
    CHECK(classify(manifest, {}) == TitleState::installed);
    manifest.target_build_id = 6;
    CHECK(classify(manifest, {}) == TitleState::update_required);
    manifest.target_build_id = 0;
    CHECK(classify(manifest, {}) == TitleState::installed);
}

TEST_CASE("each state is one sentence") {
    CHECK(describe(title_with(TitleState::installed)) == "Portal 2 (620) is installed");
    CHECK(describe(title_with(TitleState::running)) ==
          "Portal 2 (620) is running already; close it first");
    CHECK(describe(title_with(TitleState::validating)) ==
          "Portal 2 (620) has its files validated; wait until the Steam client is done");
    CHECK(describe(title_with(TitleState::files_missing)) ==
          "Portal 2 (620) has files missing or broken in '/mnt/games/steamapps/common/Portal 2'; "
          "verify its files in the Steam client");
    CHECK(describe(title_with(TitleState::disk_missing)) ==
          "Portal 2 (620) is in the library '/mnt/games', which isn't there; mount its disk");
    CHECK(describe(title_with(TitleState::not_installed)) ==
          "Portal 2 (620) is not installed; install it in the Steam client");
    CHECK(describe(title_with(TitleState::uninstalling)).contains("is being uninstalled"));

    auto updating = title_with(TitleState::update_required);
    updating.manifest.state_flags = 6;
    CHECK(describe(updating) == "Portal 2 (620) needs an update; let the Steam client finish it");
    updating.manifest.build_id = 5;
    updating.manifest.target_build_id = 6;
    updating.manifest.bytes_to_download = 3'000'000'000;
    updating.manifest.bytes_downloaded = 1'200'000;
    updating.manifest.state_flags |= state_flag::kUpdatePaused;
    CHECK(describe(updating) ==
          "Portal 2 (620) needs an update, which is paused (build 5 to 6, 1.2 MB of 3.0 GB "
          "downloaded); let the Steam client finish it");
    updating.manifest.state_flags = 2;
    CHECK(describe(updating).contains("is only partly installed"));
    updating.state = TitleState::updating;
    CHECK(describe(updating) ==
          "Portal 2 (620) is being updated (build 5 to 6, 1.2 MB of 3.0 GB downloaded); wait until "
          "the Steam client is done");

    auto nameless = title_with(TitleState::disk_missing);
    nameless.name.clear();
    CHECK(describe(nameless).starts_with("app 620 is in"));
    nameless.name = "evil\x1b]0;";
    CHECK_FALSE(describe(nameless).contains('\x1b'));
}

TEST_CASE("sizes are as the client shows them") {
    CHECK(human_size(0) == "0 B");
    CHECK(human_size(999) == "999 B");
    CHECK(human_size(1000) == "1.0 kB");
    CHECK(human_size(999'999) == "1.0 MB");
    CHECK(human_size(12'899'123'456) == "12.9 GB");
    CHECK(human_size(UINT64_MAX) == "18.4 EB");
}

TEST_CASE("what a title runs with") {
    const CompatTools tools = {{0, "proton_experimental"},
                               {1, "GE-Proton9-20"},
                               {2, "steamlinuxruntime_sniper"},
                               {3, "luxtorpeda"},
                               {4, ""}};
    struct Row {
        uint32_t app_id;
        bool windows;
        Runtime runtime;
        const char* tool;
    };
    auto row = GENERATE(values<Row>({
        {1, false, Runtime::proton, "GE-Proton9-20"},
        {2, false, Runtime::linux_runtime, "steamlinuxruntime_sniper"},
        {3, true, Runtime::other_tool, "luxtorpeda"},
        {4, false, Runtime::native, ""},
        {4, true, Runtime::proton, "proton_experimental"},
        {9, false, Runtime::native, ""},
        {9, true, Runtime::proton, "proton_experimental"},
    }));
    CAPTURE(row.app_id, row.windows);
    SteamTitle title;
    title.app_id = row.app_id;
    title.manifest.windows_files = row.windows;
    choose_runtime(title, tools);
    CHECK(to_string(title.runtime) == to_string(row.runtime));
    CHECK(title.compat_tool == row.tool);
}

TEST_CASE("a shortcut's ids are the client's") {
    // Computed with zlib's crc32 in Python.
    CHECK(shortcut_app_id("\"/usr/games/chocolate-doom\"", "Doom") == 0xd23066ec);
    CHECK(run_game_id(0xd23066ec, true) == 15145718710678847488u);
    CHECK(run_game_id(620, false) == 620);
    SteamTitle title;
    title.shortcut = true;
    title.executable = "/games/Setup.EXE";
    choose_runtime(title, {});
    CHECK(title.runtime == Runtime::proton);
    title.executable = "/games/setup";
    choose_runtime(title, {});
    CHECK(title.runtime == Runtime::native);
}
