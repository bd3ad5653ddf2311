// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/clock_controller.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/clock_scheduler.hpp"

using namespace stepscope;
using namespace stepscope::clock;

namespace {

/** A controller, and a page on which the test plays the game. */
struct Played {
    ClockController controller = [] {
        auto created = ClockController::create({.monotonic_base_ns = 5, .seed = 9});
        REQUIRE(created);
        return std::move(*created);
    }();
    ClockPage& page = controller.page();
    std::vector<ClockController::StepResult> results;

    Played() {
        controller.set_callbacks(
            {.on_step_done = [this](const auto& result) { results.push_back(result); },
             .on_quiescent = {}});
    }

    uint32_t add_thread() {
        const uint32_t slot = allocate_thread_locked(page, 0, 0);
        REQUIRE(slot != kNone);
        return slot;
    }

    void idle(uint32_t slot, uint64_t deadline, WaitKind kind = WaitKind::sleep) {
        page.threads[slot].wake = 0;
        make_idle_locked(page, page.threads[slot], ThreadState::waiting, kind, deadline);
        const Action action = settle_locked(page);
        if (action.notify) {
            controller.dispatch();
        }
    }

    bool runs(uint32_t slot) const { return page.threads[slot].state == ThreadState::running; }
};

}  // namespace

TEST_CASE("the page is what the specification says") {
    Played game;
    CHECK(std::memcmp(&game.page, "STPCLOCK", 8) == 0);
    CHECK(game.page.version == 1);
    CHECK(game.page.size == 69824);
    CHECK(game.page.monotonic_base_ns == 5);
    CHECK(game.page.seeded == 1);
    CHECK(game.page.seed == 9);
    CHECK(game.controller.monotonic_ns() == 5);
    const int fd = game.controller.inherited_fds().at(0);
    CHECK(::ftruncate(fd, 4096) == -1);
    CHECK(errno == EPERM);
    const auto environment = game.controller.environment("/lib/clock.so");
    CHECK(environment.at(0).starts_with("LD_PRELOAD=/lib/clock.so"));
    CHECK(environment.at(1) == "STEPSCOPE_CLOCK_FD=" + std::to_string(fd));
}

TEST_CASE("time goes from deadline to deadline and stops at the end of the step") {
    Played game;
    const uint32_t first = game.add_thread();
    const uint32_t second = game.add_thread();
    const uint32_t third = game.add_thread();
    REQUIRE(game.controller.begin_step(100));
    CHECK_FALSE(game.controller.begin_step(100));
    game.idle(first, 30);
    game.idle(second, 20);
    CHECK(game.controller.now_ns() == 0);
    game.idle(third, 20);
    // Both are due at 20: the lower slot first, alone.
    CHECK(game.controller.now_ns() == 20);
    CHECK(game.runs(second));
    CHECK_FALSE(game.runs(third));
    game.idle(second, 101);
    CHECK(game.runs(third));
    game.idle(third, kNever);
    CHECK(game.controller.now_ns() == 30);
    CHECK(game.runs(first));
    game.idle(first, 100);
    CHECK(game.controller.now_ns() == 100);
    CHECK(game.runs(first));
    CHECK(game.results.empty());
    game.idle(first, 500);
    REQUIRE(game.results.size() == 1);
    CHECK(game.results[0].status == ClockController::StepStatus::no_commit);
    CHECK(game.results[0].now_ns == 100);
    CHECK(game.results[0].seq == 1);
    REQUIRE(game.controller.begin_step(1));
    CHECK(game.controller.now_ns() == 101);
    CHECK(game.runs(second));
    CHECK(game.controller.describe().find("expected") != std::string::npos);
}

TEST_CASE("who is held stays so in an interlude between two steps") {
    Played game;
    const uint32_t gated = game.add_thread();
    const uint32_t spinning = game.add_thread();
    const uint32_t server = game.add_thread();
    REQUIRE(game.controller.begin_step(100));
    game.idle(gated, kNever, WaitKind::present);
    game.idle(spinning, kNever, WaitKind::step);
    game.idle(server, 110);
    REQUIRE(game.results.size() == 1);
    // The display server's timer is due; nobody else's time has come.
    REQUIRE(game.controller.begin_interlude(20));
    CHECK(game.controller.now_ns() == 110);
    CHECK(game.runs(server));
    game.idle(server, 500);
    CHECK(game.controller.now_ns() == 120);
    CHECK_FALSE(game.runs(gated));
    CHECK_FALSE(game.runs(spinning));
    CHECK(game.page.step_seq == 1);
    REQUIRE(game.results.size() == 2);
    REQUIRE(game.controller.begin_step(100));
    CHECK(game.runs(gated));
    CHECK(game.controller.now_ns() == 120);
    game.idle(gated, kNever);
    CHECK(game.runs(spinning));
}

TEST_CASE("an expected process keeps the step open, and its end ends it") {
    Played game;
    REQUIRE(game.controller.expect_process());
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::usleep(50'000);
        ::_exit(3);
    }
    game.controller.process_started(pid);
    REQUIRE(game.controller.begin_step(10));
    for (int i = 0; i < 500 && game.results.empty(); ++i) {
        pollfd one{game.controller.fd(), POLLIN, 0};
        ::poll(&one, 1, 100);
        game.controller.dispatch();
    }
    ::waitpid(pid, nullptr, 0);
    REQUIRE(game.results.size() == 1);
    CHECK(game.results[0].status == ClockController::StepStatus::exited);
    CHECK(game.results[0].message.find("status 3") != std::string::npos);
    CHECK(game.results[0].now_ns == 10);
    CHECK(game.controller.process_count() == 0);
}

TEST_CASE("who dies with the lock does not stop the others") {
    Played game;
    const uint32_t slot = game.add_thread();
    const pid_t pid = ::fork();
    if (pid == 0) {
        lock_page(game.page, static_cast<uint32_t>(::gettid()));
        game.page.runnable = 77;  // in the middle of something
        ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
    REQUIRE(game.controller.begin_step(10));
    CHECK(game.page.lock == 0);
    CHECK(game.page.runnable == 1);
    CHECK(game.runs(slot));
}

TEST_CASE("a page full of nonsense does no harm to the controller") {
    Played game;
    game.page.slots_used = UINT32_MAX;
    game.page.threads[3].state = ThreadState::external;
    game.page.threads[3].process = 4'000'000;
    game.page.threads[3].deadline_ns = 1;
    game.page.threads[3].kind = static_cast<WaitKind>(99);
    game.page.external = 1;
    REQUIRE(game.controller.begin_step(10));
    game.page.events = UINT32_MAX;
    game.controller.dispatch();
    game.controller.recheck();
    CHECK(game.controller.threads().empty());
    game.controller.cancel_step();
    CHECK(game.results.back().status == ClockController::StepStatus::cancelled);
}

TEST_CASE("the table of processes is finite") {
    Played game;
    for (uint32_t i = 0; i < kMaxProcesses; ++i) {
        REQUIRE(game.controller.expect_process());
    }
    const auto full = game.controller.expect_process();
    REQUIRE_FALSE(full);
    CHECK(full.error().message.find("64") != std::string::npos);
}
