// SPDX-License-Identifier: LGPL-2.1-or-later
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <cstddef>
#include <map>
#include <set>
#include <thread>

#include "game.hpp"

using namespace stepscope;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kBase = 1'000'000'000'000;
using Status = ClockController::StepStatus;

std::vector<Line> trace(const char* scenario, uint64_t delta) {
    Game game(scenario);
    CHECK(game.run(delta).status == Status::exited);
    return game.lines();
}

/** Where the program's X server listens. */
UniqueFd x11_server(const Game& game) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "/tmp/.X11-unix/X" + std::to_string(game.pid());
    name.copy(address.sun_path + 1, name.size());
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    return listener;
}

}  // namespace

TEST_CASE("several threads see the same times in every run on a loaded machine") {
    const std::vector<Line> first = trace("producers", 16'666'667);
    CHECK(first.size() > 100);
    BusyMachine busy(2);
    for (int run = 0; run < 50; ++run) {
        CAPTURE(run);
        REQUIRE(trace("producers", 16'666'667) == first);
    }
}

TEST_CASE("who makes a thread goes on first, in every run on a loaded machine") {
    BusyMachine busy(2);
    for (int run = 0; run < 20; ++run) {
        CAPTURE(run);
        const std::vector<Line> lines = trace("starts", 16'666'667);
        REQUIRE(lines.size() == 12);
        for (const Line& line : lines) {
            REQUIRE(line.result == 1);
        }
    }
}

TEST_CASE("a new thread starts although its maker waits for it unseen") {
    Game game("starts_unseen");
    CHECK(game.run(16'666'667).status == Status::exited);
    CHECK(game.line("spun").result == 1);
    CHECK(game.line("written").result == 1 << 20);
}

TEST_CASE("who writes to a full pipe waits for its reader, whose time goes on") {
    for (int run = 0; run < 3; ++run) {
        Game game("full_pipes");
        CHECK(game.run(16'666'667).status == Status::exited);
        REQUIRE(game.lines().size() == 6);
        for (const Line& line : game.lines()) {
            INFO(line.name);
            CHECK(line.result == 1 << 20);
            // The rest is in the pipe when the writer is done.
            CHECK(line.value >= 10 * kMs);
            CHECK(line.value % kMs == 0);
        }
        CHECK(game.line("write").value == 15 * kMs);
    }
}

TEST_CASE("a mutex that is held across sleeps does not stop time") {
    Game game("contention");
    game.run(16'666'667);
    CHECK(game.line("total").result == 40);
    CHECK(game.line("total").value == kBase + 40 * kMs);
}

TEST_CASE("nothing happens between steps") {
    Game game("ticks");
    const auto result = game.step(55 * kMs);
    CHECK(result.status == Status::no_commit);
    CHECK(result.now_ns == 55 * kMs);
    CHECK(game.lines().size() == 6);
    std::this_thread::sleep_for(std::chrono::seconds(1));
    game.clock().dispatch();
    CHECK(game.lines().size() == 6);
    CHECK(game.clock().now_ns() == 55 * kMs);
    CHECK(game.step(5 * kMs).now_ns == 60 * kMs);
    // What is due at T+Δ belongs to the step.
    CHECK(game.lines().size() == 7);
    CHECK(game.lines().back().value == kBase + 60 * kMs);
}

TEST_CASE("a program does not start before the first step") {
    Game game("ticks");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    CHECK(game.lines().empty());
    game.step(kMs);
    CHECK(game.lines().size() == 1);
}

TEST_CASE("who reads the clock again and again is moved on by a millisecond") {
    Game game("spin");
    game.run(16 * kMs);
    CHECK(game.line("spin").value == kBase + 50 * kMs);
    CHECK(game.line("spin").result <= 5'600);
    CHECK(game.line("yield").value < kBase + 62 * kMs);
}

TEST_CASE("who reads the clock for ever is held at the end of the step") {
    Game game("spin_forever");
    const auto result = game.step(4 * kMs + 500'000);
    CHECK(result.now_ns == 4 * kMs + 500'000);
    const size_t count = game.lines().size();
    CHECK(count <= 8);
    CHECK(game.lines().back().value == kBase + 4 * kMs + 500'000);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    CHECK(game.lines().size() == count);
    CHECK(game.clock().threads().at(0).kind == clock::WaitKind::step);
    game.step(10 * kMs);
    CHECK(game.lines().back().value == kBase + 14 * kMs + 500'000);
}

TEST_CASE("a present holds its thread until the next step, and no other") {
    Game game("present");
    for (int frame = 0; frame < 5; ++frame) {
        const auto result = game.step(16 * kMs);
        CHECK(result.status == Status::presented);
        CHECK(result.presents == 1);
        CHECK(result.now_ns == static_cast<uint64_t>(frame + 1) * 16 * kMs);
    }
    CHECK(game.step(16 * kMs).status == Status::exited);
    int frame = 0;
    for (const Line& line : game.lines()) {
        if (line.name == "frame") {
            CHECK(line.value == kBase + 16 * kMs * frame++);
        }
    }
    CHECK(frame == 5);
    CHECK(game.line("audio").value == kBase + 60 * kMs);
}

TEST_CASE("a program finds what it would find without the library") {
    Game game("look_up");
    game.run(kMs);
    CHECK(game.line("next").result == 1);
    // It has no such libraries loaded, though the clock library stands in for them.
    CHECK(game.line("egl").result == 0);
    CHECK(game.line("glx").result == 0);
    CHECK(game.line("missing").result == 0);
}

TEST_CASE("a thread with two windows shows a frame in each in every step") {
    Game game("present_windows");
    // While the second window is new, and once it is no longer drawn, one is shown alone.
    for (int step = 0; step < 10; ++step) {
        CAPTURE(step);
        const auto result = game.step(10 * kMs);
        if (result.status == Status::exited) {
            break;
        }
        CHECK(result.presents >= 1);
    }
    std::map<int64_t, std::map<int64_t, int>> shown;
    for (const Line& line : game.lines()) {
        if (line.name == "shown") {
            CHECK(++shown[line.value][line.result] == 1);
        }
    }
    int both = 0;
    for (const auto& [when, windows] : shown) {
        both += windows.size() == 2;
    }
    CHECK(both >= 4);
}

TEST_CASE("threads that show frames in one window take turns, a step each") {
    Game game("present_threads");
    for (int step = 0; step < 12; ++step) {
        CAPTURE(step);
        CHECK(game.step(10 * kMs).presents == 1);
    }
    std::set<int64_t> times;
    for (const Line& line : game.lines()) {
        times.insert(line.value);
    }
    CHECK(times.size() == 12);
}

TEST_CASE("a present that failed is not a step's frame") {
    Game game("present_again");
    for (int64_t step = 0; step < 3; ++step) {
        CAPTURE(step);
        CHECK(game.step(10 * kMs).presents == 1);
        CHECK(game.lines().back() == Line{"shown", 1, kBase + step * 10 * kMs + 2 * kMs});
    }
}

TEST_CASE("the controller decides whether time moves while something outside is awaited") {
    // The test plays the compositor: a request is answered late in wall time, at once in virtual.
    Game game("request_and_reply");
    game.quiet = false;
    std::jthread answer([&](const std::stop_token& stop) {
        for (int i = 0; i < 20 && !stop.stop_requested(); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            (void)!::write(game.stdin_fd(), "r", 1);
        }
    });
    CHECK(game.run(1'000 * kMs).status == Status::exited);
    CHECK(game.quiescence_calls > 0);
    int replies = 0;
    for (const Line& line : game.lines()) {
        if (line.name == "reply") {
            CHECK(line.result == 1);
            CHECK(line.value == 0);
            ++replies;
        }
    }
    CHECK(replies == 20);
}

TEST_CASE("a client of an X server finds all that there is for it when everything else waits") {
    // The test plays the server, which writes when the client waits, once in each turn.
    const char* scenario = GENERATE("x11_client_poll", "x11_client_select", "x11_client_epoll",
                                    "x11_client_epoll_in_epoll");
    CAPTURE(scenario);
    Game game(scenario);
    const UniqueFd listener = x11_server(game);
    UniqueFd client;
    const std::vector<std::string> turns{"a", "bc", "d", "ef", "g"};
    size_t turn = 0;
    game.on_quiescence = [&](int) {
        if (!client) {
            client.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        }
        if (turn < turns.size()) {
            (void)!::write(client.get(), turns[turn].data(), turns[turn].size());
            ++turn;
        }
    };
    (void)!::write(game.stdin_fd(), "", 1);
    CHECK(game.run(50 * kMs).status == Status::exited);
    const std::vector<Line> expected{{"connect", 0, 0}, {"look", 1, 0}, {"receive", 1, 0},
                                     {"receive", 2, 0}, {"wait", 1, 0}, {"receive", 3, 0},
                                     {"receive", 1, 0}};
    CHECK(game.lines() == expected);
}

TEST_CASE("who was given a connection to an X server to watch has no turns") {
    Game game("x11_watcher");
    const UniqueFd listener = x11_server(game);
    UniqueFd client;
    game.on_quiescence = [&](int) {
        if (!client) {
            client.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        }
        if (client) {
            (void)!::write(client.get(), "a", 1);
        }
    };
    (void)!::write(game.stdin_fd(), "", 1);
    CHECK(game.run(50 * kMs).status == Status::exited);
    // It looked at once: the server had nothing to say until everybody waited.
    const std::vector<Line> expected{{"connect", 0, 0}, {"look", 0, 0}, {"wait", 1, 0}};
    CHECK(game.lines() == expected);
}

TEST_CASE("an unanswered wait times out in virtual time") {
    Game game("request_and_reply");
    CHECK(game.run(50 * kMs).status == Status::exited);
    for (const Line& line : game.lines()) {
        if (line.name == "reply") {
            CHECK(line.result == 0);
            CHECK(line.value == 100 * kMs);
        }
    }
}

TEST_CASE("a program that is killed ends its step") {
    Game game("ticks");
    game.step(20 * kMs);
    ::kill(game.pid(), SIGKILL);
    const auto result = game.step(1'000'000 * kMs);
    CHECK(result.status == Status::crashed);
    CHECK(result.message.find("signal 9") != std::string::npos);
    CHECK(game.clock().process_count() == 0);
    CHECK(game.step(kMs).status == Status::crashed);
}

TEST_CASE("a program that dies in the middle of a step ends it, and its time passes") {
    Game game("die");
    const auto result = game.run(1'000 * kMs);
    CHECK(result.status == Status::crashed);
    CHECK(result.now_ns == 1'000 * kMs);
}

TEST_CASE("a step can be given up, and says who runs") {
    Game game("busy");
    REQUIRE(game.clock().begin_step(kMs));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    game.clock().dispatch();
    CHECK(game.clock().step_open());
    CHECK(game.clock().describe().find(" runs") != std::string::npos);
    CHECK(game.clock().describe().find(std::to_string(game.pid())) != std::string::npos);
    game.clock().cancel_step();
    CHECK_FALSE(game.clock().step_open());
    CHECK(game.clock().now_ns() == 0);
}

TEST_CASE("without a clock page the library changes nothing") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::dup2(ends[1], STDOUT_FILENO);
        ::setenv("LD_PRELOAD", STEPSCOPE_CLOCK_LIBRARY, 1);
        ::execl(clock_program(), clock_program(), "close_everything", nullptr);
        ::_exit(127);
    }
    ::close(ends[1]);
    int status = -1;
    ::waitpid(pid, &status, 0);
    CHECK(status == 0);
    char text[256] = {};
    CHECK(::read(ends[0], text, sizeof text - 1) > 0);
    ::close(ends[0]);
    long result = -1;
    long elapsed = 0;
    CHECK(std::sscanf(text, "sleep %ld %ld", &result, &elapsed) == 2);
    CHECK(result == 0);
    CHECK(elapsed > 10 * kMs);  // real sleeps are never exact
}
