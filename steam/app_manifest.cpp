// SPDX-License-Identifier: LGPL-2.1-or-later
#include "app_manifest.hpp"

#include <array>
#include <format>
#include <limits>

namespace stepscope::steam {
namespace {

// By bit, lowest first.
constexpr std::array<std::string_view, 24> kFlagNames = {
    "uninstalled",    "update required", "fully installed", "update queued",   "update optional",
    "files missing",  "shared only",     "files corrupt",   "update running",  "update paused",
    "update started", "uninstalling",    "backup running",  "app running",     "component in use",
    "moving folder",  "reconfiguring",   "validating",      "adding files",    "preallocating",
    "downloading",    "staging",         "committing",      "update stopping",
};

/** Today's clients write Windows' files for Linux as an override in either of these. */
bool overrides_windows(const VdfNode& state) {
    for (auto section : {"UserConfig", "MountedConfig"}) {
        const VdfNode* config = state.find(section);
        if (config != nullptr &&
            equal_ignoring_case(config->string("platform_override_source"), "windows")) {
            return true;
        }
    }
    return false;
}

}  // namespace

std::vector<std::string> state_flag_names(uint32_t flags) {
    std::vector<std::string> names;
    for (size_t bit = 0; bit < std::numeric_limits<uint32_t>::digits; ++bit) {
        if ((flags >> bit & 1) != 0) {
            names.push_back(bit < kFlagNames.size() ? std::string(kFlagNames[bit])
                                                    : std::format("bit {}", bit));
        }
    }
    return names;
}

Result<AppManifest> read_app_manifest(const VdfNode& root) {
    const VdfNode* state = root.find("AppState");
    if (state == nullptr || !state->is_map()) {
        return fail(Fault::protocol, "expected an app manifest (\"AppState\"), got none");
    }
    AppManifest manifest;
    manifest.app_id = state->number("appid").value_or(0);
    if (manifest.app_id == 0 || manifest.app_id > std::numeric_limits<uint32_t>::max()) {
        return fail(Fault::protocol,
                    std::format("expected an app id of 1 to 4294967295, got \"{}\"",
                                state->string("appid")));
    }
    manifest.name = state->string("name");
    manifest.install_dir = state->string("installdir");
    // Some old clients wrote the whole path; only a folder of common/ can be trusted.
    if (manifest.install_dir == ".." || manifest.install_dir == "." ||
        manifest.install_dir.contains('/') || manifest.install_dir.contains('\0')) {
        return fail(Fault::protocol, std::format("expected the name of a folder as installdir, got "
                                                 "\"{}\"",
                                                 manifest.install_dir));
    }
    manifest.state_flags = static_cast<uint32_t>(state->number("StateFlags").value_or(0));
    manifest.build_id = state->number("buildid").value_or(0);
    manifest.target_build_id = state->number("TargetBuildID").value_or(0);
    manifest.size_on_disk = state->number("SizeOnDisk").value_or(0);
    manifest.bytes_to_download = state->number("BytesToDownload").value_or(0);
    manifest.bytes_downloaded = state->number("BytesDownloaded").value_or(0);
    manifest.last_updated = static_cast<int64_t>(state->number("LastUpdated").value_or(0));
    manifest.windows_files = overrides_windows(*state);
    return manifest;
}

Result<AppManifest> load_app_manifest(const std::string& path) {
    auto root = load_vdf_text(path);
    if (!root) {
        return std::unexpected(root.error());
    }
    auto manifest = read_app_manifest(*root);
    if (!manifest) {
        return fail(manifest.error().fault, std::format("{}: {}", path, manifest.error().message));
    }
    return manifest;
}

}  // namespace stepscope::steam
