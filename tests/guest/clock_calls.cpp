// SPDX-License-Identifier: LGPL-2.1-or-later
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <csignal>

#include "game.hpp"

using namespace stepscope;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kMonotonicBase = 1'000'000'000'000;
constexpr int64_t kRealtimeBase = 1'767'225'600'000'000'000;

struct Expected {
    const char* name;
    long result;
    int64_t elapsed_ns;
};

/** Virtual time is exact, and where the steps end makes no difference to it. */
void check(const char* scenario, std::initializer_list<Expected> expected) {
    const uint64_t delta = GENERATE(1'000'000'000'000u, 7'000'001u);
    CAPTURE(delta);
    Game game(scenario);
    const auto end = game.run(delta);
    CHECK(end.status == ClockController::StepStatus::exited);
    CHECK(end.message.find("status 0") != std::string::npos);
    CHECK(game.lines().size() == expected.size());
    for (const Expected& want : expected) {
        CAPTURE(want.name);
        const Line got = game.line(want.name);
        CHECK(got.result == want.result);
        CHECK(got.value == want.elapsed_ns);
    }
}

}  // namespace

TEST_CASE("every clock reads virtual time") {
    constexpr int64_t now = 2'500 * kMs;
    check("reads", {{"realtime", 0, kRealtimeBase + now},
                    {"realtime_coarse", 0, kRealtimeBase + now},
                    {"monotonic", 0, kMonotonicBase + now},
                    {"monotonic_raw", 0, kMonotonicBase + now},
                    {"monotonic_coarse", 0, kMonotonicBase + now},
                    {"boottime", 0, kMonotonicBase + now},
                    {"process_cpu", 0, now},
                    {"thread_cpu", 0, now},
                    {"gettimeofday", 0, kRealtimeBase + now},
                    {"time", 0, (kRealtimeBase + now) / 1'000'000'000},
                    {"clock", 0, now / 1000},
                    {"timespec_get", 1, kRealtimeBase + now},
                    {"syscall", 0, kMonotonicBase + now}});
}

TEST_CASE("sleeps last exactly as long as asked") {
    check("sleeps", {{"nanosleep", 0, 3 * kMs + 7},
                     {"clock_nanosleep", 0, 5 * kMs},
                     {"clock_nanosleep_abs", 0, 11 * kMs},
                     {"usleep", 0, 1'234'000},
                     {"sleep", 0, 2'000 * kMs},
                     {"thrd_sleep", 0, 6 * kMs},
                     {"syscall_nanosleep", 0, 9 * kMs},
                     {"this_thread", 0, 77'000}});
}

TEST_CASE("timed waits for other threads end in virtual time") {
    check("locks", {{"cond_timedwait", ETIMEDOUT, 13 * kMs},
                    {"cond_clockwait", ETIMEDOUT, 17 * kMs},
                    {"cond_monotonic", ETIMEDOUT, 19 * kMs},
                    {"mutex_timedlock", ETIMEDOUT, 10 * kMs},
                    {"mutex_clocklock", ETIMEDOUT, 10 * kMs},
                    {"mutex_lock", 0, 20 * kMs},
                    {"sem_timedwait", ETIMEDOUT, 23 * kMs},
                    {"sem_clockwait", ETIMEDOUT, 29 * kMs},
                    {"sem_wait", 0, 31 * kMs},
                    {"rwlock_timedrdlock", ETIMEDOUT, 10 * kMs},
                    {"rwlock_clockwrlock", ETIMEDOUT, 10 * kMs},
                    {"rwlock_rdlock", 0, 15 * kMs},
                    {"timedjoin", ETIMEDOUT, 20 * kMs},
                    {"join", 0, 30 * kMs},
                    {"barrier", 0, 15 * kMs},
                    {"cnd_timedwait", 1, 8 * kMs},
                    {"cnd_wait", 0, 4 * kMs},
                    {"thrd_join", 42, 0},
                    {"std_wait_for", 1, 21 * kMs}});
}

TEST_CASE("futexes through syscall()") {
    check("futexes", {{"wait", ETIMEDOUT, 12 * kMs},
                      {"wait_bitset", ETIMEDOUT, 14 * kMs},
                      {"wait_bitset_realtime", ETIMEDOUT, 16 * kMs},
                      {"wait_shared", ETIMEDOUT, 18 * kMs},
                      {"wait_changed", EAGAIN, 0},
                      {"woken", 1, 0},
                      {"wait_woken", 0, 20 * kMs},
                      {"waitv_timeout", ETIMEDOUT, 22 * kMs},
                      {"waitv_woken", 1, 24 * kMs},
                      {"atomic_wait", 1, 26 * kMs}});
}

TEST_CASE("waits for descriptors have virtual timeouts and real readiness") {
    check("descriptors", {{"poll", 0, 12 * kMs},
                          {"poll_none", 0, 5 * kMs},
                          {"ppoll", 0, 14 * kMs},
                          {"select", 0, 16 * kMs},
                          {"pselect", 0, 18 * kMs},
                          {"epoll_wait", 0, 20 * kMs},
                          {"epoll_pwait", 0, 22 * kMs},
                          {"epoll_pwait2", 0, 24 * kMs + 5},
                          {"poll_ready", 1, 3 * kMs},
                          {"poll_at_once", 1, 0},
                          {"epoll_ready", 1, 4 * kMs},
                          {"read", 1, 5 * kMs},
                          {"recv", 1, 6 * kMs}});
}

TEST_CASE("timers") {
    // nanosleep for 100 ms is interrupted after 30: 70 remain.
    check("timers", {{"timerfd_gettime", 0, 10 * kMs},
                     {"timerfd_first", 1, 10 * kMs},
                     {"timerfd_epoll", 1, 25 * kMs},
                     {"timerfd_missed", 2, 0},
                     {"timerfd_absolute", 1, 33 * kMs},
                     {"alarm", -1, 3'000 * kMs},
                     {"alarm_interrupts", 70, 30 * kMs},
                     {"timer_thread", 0, 44 * kMs},
                     {"timer_signal", 1, 44 * kMs},
                     {"sigtimedwait", EAGAIN, 9 * kMs}});
}

TEST_CASE("times that functions give back") {
    check("results", {{"clock_getres", 0, 1},
                      {"select_rest", 1, 7 * kMs},
                      {"nanosleep_rest", EINTR, 60 * kMs},
                      {"clock_nanosleep_rest", EINTR, 60 * kMs},
                      {"setitimer_old", 0, 20 * kMs},
                      {"getitimer", 0, 30 * kMs},
                      {"timer_gettime", 0, 35 * kMs},
                      {"timer_settime_old", 0, 35 * kMs},
                      {"timerfd_settime_old", 0, 45 * kMs},
                      {"mtx_timedlock", 1, 10 * kMs},
                      {"rwlock_timedwrlock", ETIMEDOUT, 11 * kMs},
                      {"rwlock_clockrdlock", ETIMEDOUT, 12 * kMs},
                      {"clockjoin", ETIMEDOUT, 13 * kMs},
                      {"recvmsg", 2, 6 * kMs},
                      {"wait4", 5, 1},
                      {"wait3", 6, 1}});
}

TEST_CASE("message queues have virtual timeouts and real messages") {
    check("messages", {{"mq_timedreceive", ETIMEDOUT, 6 * kMs},
                       {"mq_invalid", EINVAL, 0},
                       {"mq_receive", 3, 8 * kMs},
                       {"mq_timedsend", ETIMEDOUT, 7 * kMs},
                       {"mq_send", 0, 9 * kMs}});
}

TEST_CASE("clocks and timers of old programs") {
    check("old_clocks", {{"times", 3, 3}, {"getrusage", 0, 30 * kMs}, {"ualarm", -1, 12 * kMs}});
}

TEST_CASE("condition variables of old 32-bit programs", "[.i386]") {
    check("old_conditions", {{"timedwait", ETIMEDOUT, 13 * kMs},
                             {"signal", 0, 20 * kMs},
                             {"broadcast", 0, 20 * kMs},
                             {"kept", 1, 0}});
}

TEST_CASE("children share the clock") {
    check("children", {{"fork", 7, 20 * kMs},
                       {"vfork_exec", 0, 250 * kMs},
                       {"posix_spawn", 0, 125 * kMs},
                       {"system", 3, 500 * kMs},
                       {"popen", 0, 750 * kMs},
                       {"together", 0, 40 * kMs}});
}

TEST_CASE("threads that end, are cancelled or get a signal") {
    check("endings", {{"cancelled", 1, 0},
                      {"exited", 9, 2 * kMs},
                      {"after", 0, 10 * kMs},
                      {"interrupted", 1, 5'500'000}});
}

TEST_CASE("a program that closes every descriptor keeps the clock") {
    check("close_everything", {{"sleep", 0, 10 * kMs}, {"poll", 0, 7 * kMs}});
}

TEST_CASE("random numbers follow the seed") {
    const auto numbers = [](uint64_t seed) {
        Game game("random", {.seed = seed});
        CHECK(game.run(1'000'000'000).status == ClockController::StepStatus::exited);
        return game.lines();
    };
    const auto first = numbers(42);
    REQUIRE(first.size() == 15);
    CHECK(first == numbers(42));
    const auto other = numbers(43);
    for (size_t i = 0; i < first.size(); ++i) {
        CHECK(first[i].value != other[i].value);
        for (size_t j = 0; j < i; ++j) {
            CHECK(first[i].value != first[j].value);
        }
    }
    Game unseeded("random");
    unseeded.run(1'000'000'000);
    Game again("random");
    again.run(1'000'000'000);
    CHECK(unseeded.lines() != again.lines());
}
