// SPDX-License-Identifier: LGPL-2.1-or-later
// Compiles where the fuzzers do: with libFuzzer, and a standard library that clang understands.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <nlohmann/json.hpp>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* /*data*/, size_t size) {
    return std::expected<int, size_t>(std::unexpect, size).value_or(0);
}
