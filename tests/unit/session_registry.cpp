// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/session_registry.hpp"

#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

using namespace stepscope;

namespace {

/** A runtime directory of its own for each test case. */
struct Runtime {
    std::string path;
    Runtime() {
        std::string pattern = std::filesystem::temp_directory_path() / "stepscope-test-XXXXXX";
        path = ::mkdtemp(pattern.data());
        ::setenv("XDG_RUNTIME_DIR", path.c_str(), 1);
        ::unsetenv("STEPSCOPE_SESSION");
    }
    ~Runtime() { std::filesystem::remove_all(path); }
};

SessionDirectory start(std::string_view name) {
    auto directory = SessionDirectory::create(name);
    REQUIRE(directory);
    REQUIRE(directory->publish({.pid = ::getpid(), .command = "true", .width = 640}));
    return std::move(*directory);
}

}  // namespace

TEST_CASE("session names are checked") {
    CHECK(check_session_name("doom-2.run_1"));
    for (const char* name :
         {"", ".hidden", "a/b", "..", "ä", "a b", "0123456789012345678901234567890123456789"}) {
        CAPTURE(name);
        CHECK_FALSE(check_session_name(name));
    }
}

TEST_CASE("a session is found by name, by environment and when it is the only one") {
    Runtime runtime;
    CHECK(find_session("").error().message.contains("no session is running"));
    auto first = start("");
    CHECK(first.name() == "game");
    CHECK(find_session("")->name == "game");
    CHECK(find_session("")->width == 640);
    auto second = start("");
    CHECK(second.name() == "game-2");
    auto ambiguous = find_session("");
    REQUIRE_FALSE(ambiguous);
    CHECK(ambiguous.error().message.contains("game, game-2"));
    ::setenv("STEPSCOPE_SESSION", "game-2", 1);
    CHECK(find_session("")->name == "game-2");
    auto unknown = find_session("doom");
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().fault == Fault::not_found);
    CHECK(unknown.error().message.contains("running: game, game-2"));
}

TEST_CASE("a name is taken once, and free again afterwards") {
    Runtime runtime;
    {
        auto first = start("doom");
        auto second = SessionDirectory::create("doom");
        REQUIRE_FALSE(second);
        CHECK(second.error().fault == Fault::busy);
    }
    CHECK_FALSE(std::filesystem::exists(runtime.path + "/stepscope/doom"));
    CHECK(SessionDirectory::create("doom"));
}

TEST_CASE("a session whose directory was removed does not remove its successor's") {
    Runtime runtime;
    auto first = std::make_unique<SessionDirectory>(start("doom"));
    std::filesystem::remove_all(first->path());
    auto second = start("doom");
    first.reset();
    CHECK(std::filesystem::exists(second.runtime_directory()));
    CHECK(find_session("doom"));
}

TEST_CASE("sessions that come and go side by side leave each other alone") {
    Runtime runtime;
    constexpr int kProcesses = 4;
    constexpr int kSessions = 300;
    for (int i = 0; i < kProcesses; ++i) {
        if (::fork() == 0) {
            for (int n = 0; n < kSessions; ++n) {
                auto directory = SessionDirectory::create("");
                if (!directory) {
                    ::_exit(1);
                }
                const std::string file = directory->runtime_directory() + "/socket";
                std::ofstream(file) << n;
                ::usleep(static_cast<useconds_t>(n % 7) * 50);
                if (!std::filesystem::exists(file) ||
                    !std::filesystem::exists(directory->path() + "/lock")) {
                    ::_exit(2);
                }
            }
            ::_exit(0);
        }
    }
    for (int i = 0; i < kProcesses; ++i) {
        int status = -1;
        ::wait(&status);
        CHECK(status == 0);
    }
    CHECK(std::filesystem::is_empty(runtime.path + "/stepscope"));
}

TEST_CASE("the remains of a killed session are taken over") {
    Runtime runtime;
    pid_t child = ::fork();
    if (child == 0) {
        auto directory = SessionDirectory::create("doom");
        (void)directory->publish({.pid = ::getpid()});
        std::ofstream(directory->path() + "/control") << "stale";
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    REQUIRE(std::filesystem::exists(runtime.path + "/stepscope/doom/control"));
    CHECK(list_sessions()->empty());
    auto directory = SessionDirectory::create("doom");
    REQUIRE(directory);
    CHECK_FALSE(std::filesystem::exists(directory->control_socket()));
}

TEST_CASE("a runtime directory that can't be used is named") {
    Runtime runtime;
    ::setenv("XDG_RUNTIME_DIR", "/nonexistent/runtime", 1);
    auto missing = list_sessions();
    REQUIRE_FALSE(missing);
    CHECK(missing.error().message.contains("/nonexistent/runtime"));
    ::setenv("XDG_RUNTIME_DIR", runtime.path.c_str(), 1);
    std::ofstream(runtime.path + "/stepscope") << "a file";
    CHECK(list_sessions().error().message.contains("not a directory"));
}

TEST_CASE("private directories are made private again") {
    Runtime runtime;
    ::mkdir((runtime.path + "/stepscope").c_str(), 0755);
    ::chmod((runtime.path + "/stepscope").c_str(), 0755);
    REQUIRE(sessions_directory());
    struct stat status{};
    ::stat((runtime.path + "/stepscope").c_str(), &status);
    CHECK((status.st_mode & 0777) == 0700);
}
