// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "steam/app_info.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace stepscope::steam;
    const std::string_view file(reinterpret_cast<const char*>(data), size);
    // 620 is in the corpus; 1 is the least number that is no end.
    for (uint32_t app_id : {620u, 1u}) {
        if (auto entries = read_launch_entries(file, app_id)) {
            static_cast<void>(default_entry(*entries, "linux"));
            static_cast<void>(default_entry(*entries, "windows"));
        }
    }
    return 0;
}
