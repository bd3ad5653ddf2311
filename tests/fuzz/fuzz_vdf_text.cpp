// SPDX-License-Identifier: LGPL-2.1-or-later
#include <cstdint>
#include <string_view>

#include "steam/library_folders.hpp"
#include "steam/title.hpp"
#include "steam/user_config.hpp"
#include "tests/fuzz/expect.hpp"
#include "tests/support/vdf_writer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace stepscope;
    std::string_view input(reinterpret_cast<const char*>(data), size);
    auto root = steam::parse_vdf_text(input);
    if (!root) {
        expect(root.error().message.starts_with("line "));
        return 0;
    }
    auto again = steam::parse_vdf_text(test::vdf_text(*root));
    expect(again.has_value() && test::same_vdf(*root, *again));

    steam::read_library_folders(*root);
    steam::read_login_users(*root);
    steam::read_compat_tools(*root);
    steam::read_launch_options(*root);
    if (auto manifest = steam::read_app_manifest(*root)) {
        expect(!manifest->install_dir.contains('/') && manifest->install_dir != "..");
        steam::SteamTitle title;
        title.name = manifest->name;
        title.manifest = *manifest;
        title.state = steam::classify(*manifest, {.client_running = size % 2 == 0});
        expect(!steam::describe(title).contains('\x1b'));
    }
    return 0;
}
