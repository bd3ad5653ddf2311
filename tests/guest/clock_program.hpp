// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

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

/** Scenarios with several threads or processes; false if there is none of that name. */
bool run_threaded_scenario(const std::string& name);
