// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam/client.hpp"

#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>

#include "tests/support/steam_fixture.hpp"

using namespace stepscope;
using namespace stepscope::steam;
namespace fs = std::filesystem;

namespace {

SteamInstallation only_installation(const SteamEnvironment& environment) {
    auto found = find_installations(environment);
    REQUIRE(found);
    REQUIRE(found->size() == 1);
    return found->front();
}

}  // namespace

TEST_CASE("an installation is found once, however many links lead to it") {
    test::SteamFixture fixture;
    auto installation = only_installation(fixture.environment());
    CHECK(installation.root == fixture.root);
    CHECK(installation.packaging == Packaging::native);
    CHECK(installation.home == fixture.home);
}

TEST_CASE("every packaging is found in its place") {
    test::SteamFixture fixture;
    std::string flatpak = fixture.home + "/.var/app/com.valvesoftware.Steam";
    fs::create_directories(flatpak + "/.local/share/Steam/steamapps");
    fs::create_directory_symlink(flatpak + "/.local", flatpak + "/data");  // leads nowhere new
    std::string snap = fixture.home + "/snap/steam/common";
    fs::create_directories(snap + "/.local/share/Steam/config");
    std::string debian = fixture.home + "/.steam/debian-installation";
    fs::create_directories(debian + "/userdata");
    auto environment = fixture.environment();
    environment.data_home = fixture.home + "/data elsewhere";
    fs::create_directories(environment.data_home + "/Steam/ubuntu12_32");
    auto found = find_installations(environment);
    REQUIRE(found);
    std::vector<std::pair<std::string, Packaging>> seen;
    for (const auto& installation : *found) {
        seen.emplace_back(installation.root, installation.packaging);
    }
    CHECK(seen == std::vector<std::pair<std::string, Packaging>>{
                      {fixture.root, Packaging::native},
                      {environment.data_home + "/Steam", Packaging::native},
                      {debian, Packaging::native},
                      {flatpak + "/.local/share/Steam", Packaging::flatpak},
                      {snap + "/.local/share/Steam", Packaging::snap},
                  });
    CHECK(found->back().home == snap);
    environment.root = snap + "/.local/share/Steam/";
    CHECK(only_installation(environment).packaging == Packaging::snap);
}

TEST_CASE("without Steam the error says where it looked") {
    test::SteamFixture fixture;
    auto environment = fixture.environment();
    environment.home = fixture.base + "/nobody";
    environment.data_home = environment.home + "/data";
    auto none = find_installations(environment);
    REQUIRE_FALSE(none);
    CHECK(none.error().fault == Fault::not_found);
    for (const char* place : {"/.steam/root", "/data/Steam", "/.var/app/com.valvesoftware.Steam",
                              "/snap/steam/common", "/.steam/debian-installation"}) {
        CAPTURE(place);
        CHECK(none.error().message.contains(environment.home + place));
    }
    CHECK(none.error().message.contains("STEPSCOPE_STEAM_ROOT"));
    // A link into a disk that isn't there, and a folder with something else in it.
    fs::create_directories(environment.home + "/.steam");
    fs::create_directory_symlink(fixture.missing, environment.home + "/.steam/root");
    fs::create_directories(environment.data_home + "/Steam/other");
    CHECK_FALSE(find_installations(environment));
}

TEST_CASE("a named root counts alone, and must be one") {
    test::SteamFixture fixture;
    auto environment = fixture.environment();
    environment.root = fixture.old;
    auto installation = only_installation(environment);
    CHECK(installation.root == fixture.old);
    CHECK(installation.home == fixture.home);
    for (const std::string& wrong : {fixture.missing, fixture.proc}) {
        environment.root = wrong;
        auto none = find_installations(environment);
        REQUIRE_FALSE(none);
        CHECK(none.error().message.contains("'" + wrong + "'"));
    }
    ::setenv("STEPSCOPE_STEAM_ROOT", fixture.old.c_str(), 1);
    ::setenv("XDG_DATA_HOME", "/somewhere", 1);
    ::setenv("HOME", fixture.home.c_str(), 1);
    auto process = SteamEnvironment::from_process();
    CHECK(process.root == fixture.old);
    CHECK(process.data_home == "/somewhere");
    CHECK(process.home == fixture.home);
    ::unsetenv("XDG_DATA_HOME");
    ::unsetenv("STEPSCOPE_STEAM_ROOT");
    process = SteamEnvironment::from_process();
    CHECK(process.root.empty());
    CHECK(process.data_home == fixture.home + "/.local/share");
}

TEST_CASE("a client is found by its pid file if that process is Steam") {
    test::SteamFixture fixture;
    auto installation = only_installation(fixture.environment());
    auto pid = [&] { return detect_client(installation, fixture.proc).pid; };
    CHECK_FALSE(detect_client(installation, fixture.proc).running());
    std::string pid_file = fixture.home + "/.steam/steam.pid";
    fixture.write(pid_file, "4242\n");
    CHECK(pid() == 0);  // left behind
    fixture.add_process(4242, "bash", "bash");
    CHECK(pid() == 0);  // reused by something else
    fixture.add_process(4242, "steam", "steam");
    CHECK(pid() == 4242);
    CHECK(detect_client(installation, fixture.proc).logged_on == true);
    for (const char* content : {"", "x", "-4242", "0", "99999999999999999999", "4242 4243"}) {
        CAPTURE(content);
        fixture.write(pid_file, content);
        CHECK(pid() == 0);
    }
    // In a sandbox the file has a pid of the sandbox.
    fixture.write(pid_file, "4242\n");
    installation.packaging = Packaging::flatpak;
    CHECK(pid() == 0);
}

TEST_CASE("a client is found by its FIFO if somebody reads it") {
    test::SteamFixture fixture;
    auto installation = only_installation(fixture.environment());
    {
        auto reader = fixture.listen_as_client();
        REQUIRE(reader);
        auto client = detect_client(installation, fixture.proc);
        CHECK(client.accepts_commands);
        CHECK(client.running());
        CHECK(client.pid == 0);
        char byte = 0;
        CHECK(::read(reader.get(), &byte, 1) == 0);  // nothing was written
    }
    CHECK_FALSE(detect_client(installation, fixture.proc).running());  // the file is still there
    std::string pipe = fixture.home + "/.steam/steam.pipe";
    fs::remove(pipe);
    fixture.write(pipe, "no FIFO");
    CHECK_FALSE(detect_client(installation, fixture.proc).running());
}

TEST_CASE("whether the client is logged on is the last state in its log") {
    test::SteamFixture fixture;
    auto installation = only_installation(fixture.environment());
    auto reader = fixture.listen_as_client();
    std::string log = installation.root + "/logs/connection_log.txt";
    auto logged_on = [&](std::string_view text) {
        fixture.write(log, text);
        return detect_client(installation, fixture.proc).logged_on;
    };
    CHECK(logged_on("[t] [Logged On, 4, 7] [U:1:1] x\n") == true);
    CHECK(logged_on("[t] [Logged On, 4, 7] [U:1:1] x\n[t] [Logged Off, 0, 0] [U:1:1] y\n\n") ==
          false);
    CHECK(logged_on("[t] [Logged On, 4, 7] [U:1:1] x\n[t] [Connecting, 0, 0] [U:1:0] y") == false);
    CHECK(logged_on("[t] [Logged On, 4, 7] [U:1:1] x\n[t] Log session ended\n") == false);
    CHECK(logged_on("[t] [Logged On, 4, 7] [U:1:1] x\n[t] Client version: 1\nmore\n") == true);
    CHECK(logged_on("") == std::nullopt);
    CHECK(logged_on("nothing of the kind\n") == std::nullopt);
    // Only the tail of a log of years is read.
    CHECK(logged_on(std::string(1 << 20, 'x') + "\n[t] [Logged On, 4, 7] [U:1:1] x\n") == true);
    fs::remove(log);
    CHECK(detect_client(installation, fixture.proc).logged_on == std::nullopt);
}

TEST_CASE("titles that run are found by their reapers") {
    test::SteamFixture fixture;
    fixture.add_process(10, "steam", "/x/ubuntu12_32/steam -silent");
    fixture.add_process(11, "reaper",
                        "/x/ubuntu12_32/reaper SteamLaunch AppId=620 -- /bin/portal2");
    fixture.add_process(12, "reaper", "/x/reaper SteamLaunch AppId=220 Install=1 -- /bin/sh");
    fixture.add_process(13, "reaper", "/x/reaper AppId=570 -- /bin/sh");
    fixture.add_process(14, "reaper", "/x/reaper SteamLaunch AppId=x -- /bin/sh");
    fixture.add_process(15, "grep", "grep reaper SteamLaunch AppId=1 --");
    fixture.add_process(16, "reaper", "reaper SteamLaunch AppId=4045629799 -- sh -- Install=1");
    fixture.add_process(17, "reaper", "/x/reaper SteamLaunch AppId=7");
    fixture.write(fixture.proc + "/18/comm", "a kernel thread\n");
    fixture.write(fixture.proc + "/self/cmdline", "reaper");
    CHECK(running_titles(fixture.proc) == std::map<uint64_t, pid_t>{{620, 11}, {4045629799, 16}});
    CHECK(running_titles(fixture.missing).empty());
}
