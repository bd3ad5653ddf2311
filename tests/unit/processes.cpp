// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/processes.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <format>
#include <fstream>

#include "base/unique_fd.hpp"

using namespace stepscope;

namespace {

namespace fs = std::filesystem;

/** A made-up /proc. */
struct Proc {
    Proc() {
        std::string name = fs::temp_directory_path() / "processes-XXXXXX";
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Proc() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    Proc(const Proc&) = delete;
    Proc& operator=(const Proc&) = delete;

    void add(pid_t pid, const std::string& rest) const {
        const fs::path directory = fs::path(path) / std::to_string(pid);
        fs::create_directories(directory);
        std::ofstream(directory / "stat") << pid << ' ' << rest << '\n';
    }

    std::string path;
};

std::vector<pid_t> pids(const std::vector<ProcessInfo>& processes) {
    std::vector<pid_t> result;
    for (const ProcessInfo& process : processes) {
        result.push_back(process.pid);
    }
    return result;
}

}  // namespace

TEST_CASE("fields are counted as the manual page counts them") {
    const ProcessStat stat(
        "7 (doom) S 1 7 7 0 -1 4194560 233 0 0 0 12 34 5 6 20 0 1 0 98765 1 2\n");
    CHECK(stat.name() == "doom");
    CHECK(stat.state() == 'S');
    CHECK_FALSE(stat.gone());
    CHECK(stat.parent() == 1);
    CHECK(stat.field(14) == 12);
    CHECK(stat.field(15) == 34);
    CHECK(stat.field(22) == 98765);
    CHECK(stat.field(24) == 2);
    CHECK(stat.field(25) == 0);
}

TEST_CASE("a name may hold anything") {
    const ProcessStat stat("7 (a) Z 9 (\nb) c) R 3 7");
    CHECK(stat.name() == "a) Z 9 (\nb) c");
    CHECK(stat.state() == 'R');
    CHECK(stat.parent() == 3);
    CHECK(ProcessStat("7 () S 3").name().empty());
    CHECK(ProcessStat("7 () S 3").parent() == 3);
}

TEST_CASE("what is cut short is not there") {
    const std::string whole = "7 (doom) S 1234";
    for (size_t length = 0; length <= whole.size(); ++length) {
        const ProcessStat stat(std::string_view(whole).substr(0, length));
        CHECK((stat.state() == 'S') == (length > 9));
        CHECK(stat.gone() == (length <= 9));
        CHECK((stat.parent() > 0) == (length > 11));
        CHECK(stat.field(5) == 0);
    }
    CHECK(ProcessStat(")(").gone());
    CHECK(ProcessStat("7 (doom) Z 1").gone());
    CHECK(ProcessStat("7 (doom) X 1").gone());
}

TEST_CASE("descendants come after their parents, and only those that run") {
    const Proc proc;
    proc.add(1, "(init) S 0");
    proc.add(10, "(ours) S 1");
    proc.add(5, "(child) S 10");
    proc.add(4, "(child of a child) D 5");
    proc.add(6, "(dead) Z 10");
    proc.add(7, "(other) S 1");
    proc.add(8, "(child of other) S 7");
    proc.add(20, "(its own parent) S 20");
    fs::create_directories(fs::path(proc.path) / "self");
    fs::create_directories(fs::path(proc.path) / "99");
    const auto found = descendants(10, proc.path);
    CHECK(pids(found) == std::vector<pid_t>{5, 4});
    REQUIRE(found.size() == 2);
    CHECK(found[1].parent == 5);
    CHECK(found[1].name == "child of a child");
    CHECK(pids(descendants(1, proc.path)).size() == 5);
    CHECK(descendants(20, proc.path).empty());
    CHECK(descendants(1, proc.path + "/none").empty());
}

TEST_CASE("a process cannot hide behind its name") {
    std::array<int, 2> ready{};
    std::array<int, 2> stop{};
    REQUIRE(::pipe(ready.data()) == 0);
    REQUIRE(::pipe(stop.data()) == 0);
    const UniqueFd ends[] = {UniqueFd(ready[0]), UniqueFd(ready[1]), UniqueFd(stop[0])};
    UniqueFd go(stop[1]);
    const pid_t pid = ::fork();
    if (pid == 0) {
        go.reset();
        ::prctl(PR_SET_NAME, "a) Z 1\n(b");
        (void)!::write(ready[1], "!", 1);
        char byte = 0;
        (void)!::read(stop[0], &byte, 1);
        ::_exit(0);
    }
    char byte = 0;
    CHECK(::read(ready[0], &byte, 1) == 1);
    const auto found = descendants(::getpid());
    go.reset();
    ::waitpid(pid, nullptr, 0);
    const auto child = std::ranges::find(found, pid, &ProcessInfo::pid);
    REQUIRE(child != found.end());
    CHECK(child->name == "a) Z 1\n(b");
    CHECK(child->parent == ::getpid());
    CHECK_FALSE(std::ranges::contains(pids(descendants(::getpid())), pid));
}

TEST_CASE("a file in /proc is read up to a limit") {
    CHECK(read_proc_file("/proc/self/stat", 4096).starts_with(std::format("{} (", ::getpid())));
    CHECK(read_proc_file("/proc/self/stat", 3).size() == 3);
    CHECK(read_proc_file("/proc/0/stat", 4096).empty());
}
