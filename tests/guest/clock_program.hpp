// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <string>

constexpr int64_t kMs = 1'000'000;

inline timespec span(int64_t ns) {
    return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

inline int64_t to_ns(const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

inline timespec later(clockid_t clock, int64_t ns) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return span(to_ns(time) + ns);
}

int64_t monotonic_ns();

/** One line of the program's output. */
void report(const char* name, long result, int64_t elapsed);

/** Runs `function` and reports what it returned and how long it took. */
template <typename Function>
void measure(const char* name, Function function) {
    const int64_t start = monotonic_ns();
    const long result = function();
    report(name, result, monotonic_ns() - start);
}

/** Only in programs for i386, which may be that old: condition variables of another layout. */
void old_conditions();

/** What functions give back of times, other than by waiting. */
void results();

/** POSIX message queues. */
void messages();

/** Calls that are older than clock_gettime() and setitimer(). */
void old_clocks();

struct Scenario {
    const char* name;
    void (*function)();
};

template <size_t Count>
bool run_scenario(const Scenario (&scenarios)[Count], const std::string& name) {
    for (const Scenario& scenario : scenarios) {
        if (name == scenario.name) {
            scenario.function();
            return true;
        }
    }
    return false;
}

/** Scenarios with several threads or processes; false if there is none of that name. */
bool run_threaded_scenario(const std::string& name);

/** Scenarios with descriptors that are waited for; false if there is none of that name. */
bool run_descriptor_scenario(const std::string& name);
