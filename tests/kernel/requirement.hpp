// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace stepscope::testing {

/** Ends the test case: as a failure in the VM, which has every device, elsewhere as a skip. */
[[noreturn]] inline void missing(const std::string& what) {
    if (std::getenv("STEPSCOPE_VM") != nullptr) {
        FAIL(what);
    }
    SKIP(what);
    std::abort();  // both macros leave by an exception
}

/** The path of a program that the test needs; a variable of the environment has it. */
inline std::string program(const char* variable) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
        missing(std::string("the path of a program is not set: ") + variable);
    }
    return path;
}

/** The value of a device that the test needs. */
template <typename T>
T require_device(Result<T> result) {
    if (!result) {
        missing(result.error().message);
    }
    return std::move(*result);
}

/** The value of something that has to work; its error fails the test. */
template <typename T>
T must(Result<T> result) {
    if (!result) {
        FAIL(result.error().message);
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*result);
    }
}

}  // namespace stepscope::testing
