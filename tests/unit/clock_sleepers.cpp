// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/clock_sleepers.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock_memory.hpp"

using namespace stepscope;
using namespace stepscope::clock;

namespace {

namespace fs = std::filesystem;

constexpr pid_t kPid = 40;

/** A page with one process of a game, and a made-up /proc. */
struct Game {
    ClockMemory memory = [] {
        auto created = ClockMemory::create();
        REQUIRE(created);
        return std::move(*created);
    }();
    ClockPage& page = *memory;
    std::string proc;

    explicit Game(pid_t pid = kPid) {
        page.processes[0].state = ProcessState::live;
        page.processes[0].pid = pid;
        std::string name = fs::temp_directory_path() / "sleepers-XXXXXX";
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        proc = name;
    }
    ~Game() {
        std::error_code ignored;
        fs::remove_all(proc, ignored);
    }
    Game(const Game&) = delete;
    Game& operator=(const Game&) = delete;

    /** Takes the next slot. */
    ThreadSlot& add(pid_t tid, ThreadState state = ThreadState::external) const {
        ThreadSlot& slot = page.threads[page.slots_used++];
        slot.state = state;
        slot.tid = tid;
        return slot;
    }
    void in_kernel(pid_t tid, const std::string& letter, const std::string& call) const {
        const fs::path task = fs::path(proc) / std::to_string(kPid) / "task" / std::to_string(tid);
        fs::create_directories(task);
        std::ofstream(task / "stat") << tid << " (a) R 1) " << letter << " 1 1\n";
        std::ofstream(task / "syscall") << call << '\n';
    }
};

constexpr const char* kSleeps = "202 0x7f 0x80";

}  // namespace

TEST_CASE("who waits for something outside is asleep when the kernel says so, in both files") {
    const Game game;
    game.add(41);
    ClockSleepers sleepers(game.proc);
    game.in_kernel(41, "S", kSleeps);
    CHECK(sleepers.all_asleep(game.page));
    game.in_kernel(41, "S", "running");  // announced, but not there yet
    CHECK_FALSE(sleepers.all_asleep(game.page));
    CHECK_FALSE(sleepers.soon_asleep(game.page));
    game.in_kernel(41, "R", kSleeps);  // woken, but has no processor yet
    CHECK_FALSE(sleepers.all_asleep(game.page));
    game.in_kernel(41, "D", kSleeps);
    CHECK_FALSE(sleepers.all_asleep(game.page));
    game.in_kernel(41, "S", "");  // not ours to read: the letter has to do
    CHECK(sleepers.all_asleep(game.page));
    game.in_kernel(41, "Z", "");
    CHECK(sleepers.all_asleep(game.page));
}

TEST_CASE("a quick look asks for less: not who waits for memory or a disk") {
    using Look = ClockSleepers::Look;
    const Game game;
    game.add(41);
    ClockSleepers sleepers(game.proc);
    game.in_kernel(41, "S", kSleeps);
    CHECK(sleepers.all_asleep(game.page, Look::quick));
    game.in_kernel(41, "D", kSleeps);
    CHECK(sleepers.all_asleep(game.page, Look::quick));
    CHECK_FALSE(sleepers.all_asleep(game.page, Look::sure));
    game.in_kernel(41, "S", "running");
    CHECK_FALSE(sleepers.all_asleep(game.page, Look::quick));
    CHECK_FALSE(sleepers.soon_asleep(game.page, Look::quick));
    game.in_kernel(41, "R", "");  // not ours to read: the letter has to do
    CHECK_FALSE(sleepers.all_asleep(game.page, Look::quick));
    game.in_kernel(41, "S", "");
    CHECK(sleepers.all_asleep(game.page, Look::quick));
}

TEST_CASE("one that is awake is enough") {
    const Game game;
    ClockSleepers sleepers(game.proc);
    CHECK(sleepers.all_asleep(game.page));
    game.add(41);
    game.add(42);
    game.add(43);
    game.in_kernel(41, "S", kSleeps);
    game.in_kernel(42, "R", "running");
    game.in_kernel(43, "S", kSleeps);
    CHECK_FALSE(sleepers.all_asleep(game.page));
    game.page.threads[1].state = ThreadState::free;
    CHECK(sleepers.all_asleep(game.page));
}

TEST_CASE("who waits for virtual time is looked at only when a signal was sent") {
    const Game game;
    game.add(41, ThreadState::waiting);
    game.in_kernel(41, "R", "running");
    ClockSleepers sleepers(game.proc);
    CHECK(sleepers.all_asleep(game.page));
    game.page.verify = 1;
    CHECK_FALSE(sleepers.all_asleep(game.page));
    game.in_kernel(41, "S", kSleeps);
    CHECK(sleepers.all_asleep(game.page));
}

TEST_CASE("a slot's next thread is not taken for the one before") {
    const Game game;
    ThreadSlot& slot = game.add(41);
    game.in_kernel(41, "S", kSleeps);
    ClockSleepers sleepers(game.proc);
    CHECK(sleepers.all_asleep(game.page));
    slot.tid = 42;
    game.in_kernel(42, "R", "running");
    CHECK_FALSE(sleepers.all_asleep(game.page));
    // The same number again, of another thread: other files.
    game.in_kernel(42, "S", kSleeps);
    CHECK(sleepers.all_asleep(game.page));
    fs::remove_all(fs::path(game.proc) / std::to_string(kPid));
    game.in_kernel(42, "R", "running");
    CHECK(sleepers.all_asleep(game.page));  // those that were kept open
    slot.generation = 1;
    CHECK_FALSE(sleepers.all_asleep(game.page));
}

TEST_CASE("what is open of a process is closed with its end") {
    const Game game;
    game.add(41);
    game.in_kernel(41, "S", kSleeps);
    ClockSleepers sleepers(game.proc);
    const auto open_files = [] {
        return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
    };
    const auto before = open_files();
    CHECK(sleepers.all_asleep(game.page));
    CHECK(open_files() == before + 2);
    sleepers.forget(kPid + 1);
    CHECK(open_files() == before + 2);
    sleepers.forget(kPid);
    CHECK(open_files() == before);
}

TEST_CASE("nonsense in the page is not asleep") {
    const Game game;
    ThreadSlot& slot = game.add(0);  // has not arrived yet
    ClockSleepers sleepers(game.proc);
    CHECK_FALSE(sleepers.all_asleep(game.page));
    slot.tid = 41;
    slot.process = 4'000'000;
    CHECK_FALSE(sleepers.all_asleep(game.page));
    slot.process = 0;
    game.page.slots_used = UINT32_MAX;
    CHECK(sleepers.all_asleep(game.page));  // gone
}

TEST_CASE("the kernel's own words for a thread that reads, that runs and that has ended") {
    const Game game(::getpid());
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const UniqueFd ends[] = {UniqueFd(pipe[0]), UniqueFd(pipe[1])};
    std::atomic<pid_t> tid = 0;
    std::atomic<bool> stop = false;
    std::jthread thread([&] {
        tid = ::gettid();
        tid.notify_one();
        char byte = 0;
        (void)!::read(pipe[0], &byte, 1);
        while (!stop) {
        }
    });
    tid.wait(0);
    game.add(tid);
    ClockSleepers sleepers;
    const auto becomes = [&](bool asleep) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (sleepers.all_asleep(game.page) != asleep && std::chrono::steady_clock::now() < end) {
            std::this_thread::yield();
        }
        return sleepers.all_asleep(game.page) == asleep;
    };
    CHECK(becomes(true));
    REQUIRE(::write(pipe[1], "!", 1) == 1);
    // At once: it was woken within write().
    CHECK_FALSE(sleepers.all_asleep(game.page));
    CHECK(becomes(false));
    stop = true;
    thread.join();
    CHECK(becomes(true));
}
