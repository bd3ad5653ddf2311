// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cstdint>
#include <string_view>

#include "steam/user_config.hpp"
#include "tests/fuzz/expect.hpp"
#include "tests/support/vdf_writer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace stepscope;
    std::string_view input(reinterpret_cast<const char*>(data), size);
    auto root = steam::parse_vdf_binary(input);
    if (!root) {
        expect(root.error().message.starts_with("offset "));
        return 0;
    }
    // Wide strings are written as plain ones, so it is the written forms that must agree.
    std::string written = test::vdf_binary(*root);
    auto again = steam::parse_vdf_binary(written);
    expect(again.has_value() && test::vdf_binary(*again) == written);

    for (const auto& shortcut : steam::read_shortcuts(*root)) {
        expect(shortcut.app_id != 0);
    }
    return 0;
}
