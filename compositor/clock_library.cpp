// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clock_library.hpp"

#include <cstdlib>
#include <filesystem>
#include <format>
#include <ranges>
#include <string_view>

#include "base/executable.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "libstepscope-clock.so";
constexpr const char* kLayerManifest = "VkLayer_STEPSCOPE_present.json";

/** Where exec() finds it. */
fs::path in_search_path(const std::string& program) {
    if (program.contains('/')) {
        return program;
    }
    const char* path = std::getenv("PATH");
    std::error_code error;
    for (const auto part :
         std::views::split(std::string_view(path ? path : "/bin:/usr/bin"), ':')) {
        const fs::path candidate = fs::path(std::string_view(part)) / program;
        if (fs::is_regular_file(candidate, error)) {
            return candidate;
        }
    }
    return {};
}

}  // namespace

Result<std::string> find_clock_library() {
    std::error_code error;
    if (const char* given = std::getenv("STEPSCOPE_CLOCK_LIBRARY");
        given != nullptr && *given != '\0') {
        if (!fs::exists(given, error)) {
            return fail(
                Fault::not_found,
                std::format("STEPSCOPE_CLOCK_LIBRARY is '{}', which does not exist", given));
        }
        return std::string(given);
    }
    const fs::path program = fs::read_symlink("/proc/self/exe", error);
    for (const fs::path& candidate : {program.parent_path().parent_path() / "guest" / kName,
                                      fs::path(STEPSCOPE_CLOCK_LIBRARY_DIR) / kName}) {
        if (fs::exists(candidate, error)) {
            return candidate.string();
        }
    }
    return fail(Fault::not_found,
                std::format("--lockstep needs {}, which is neither in '{}' nor beside this "
                            "program; install it or set STEPSCOPE_CLOCK_LIBRARY",
                            kName, STEPSCOPE_CLOCK_LIBRARY_DIR));
}

std::string clock_library_path() {
    return find_clock_library().value_or("");
}

bool has_clock_library_32() {
    std::error_code error;
    return fs::exists(fs::path(clock_library_path()).parent_path() / "lib32" / kName, error);
}

std::string clock_preload() {
    const fs::path library = clock_library_path();
    return has_clock_library_32() ? (library.parent_path() / "$LIB" / kName).string()
                                  : library.string();
}

std::string why_on_real_time(const std::string& program) {
    const auto info = inspect_executable(in_search_path(program).string(), has_clock_library_32());
    using Kind = ExecutableInfo::Kind;
    return !info || info->kind == Kind::script || info->kind == Kind::unknown ? "" : info->message;
}

std::string vulkan_layer_directory() {
    std::error_code error;
    const fs::path directory = fs::path(clock_library_path()).parent_path();
    return fs::exists(directory / kLayerManifest, error) ? directory.string() : "";
}

}  // namespace stepscope
