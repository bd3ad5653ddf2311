// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vdf.hpp"

namespace stepscope::steam {

/**
 * Bits of an app manifest's StateFlags. Up to bit 15 these are today's client's (its EAppState).
 * Older clients called bit 6 "app running", and used bits 16 to 23 for the phase of an update,
 * which today's keep elsewhere. The phases are believed only beside a running update.
 */
namespace state_flag {
inline constexpr uint32_t kUninstalled = 1u << 0;
inline constexpr uint32_t kUpdateRequired = 1u << 1;
inline constexpr uint32_t kFullyInstalled = 1u << 2;
inline constexpr uint32_t kUpdateQueued = 1u << 3;
inline constexpr uint32_t kUpdateOptional = 1u << 4;
inline constexpr uint32_t kFilesMissing = 1u << 5;
inline constexpr uint32_t kSharedOnly = 1u << 6;
inline constexpr uint32_t kFilesCorrupt = 1u << 7;
inline constexpr uint32_t kUpdateRunning = 1u << 8;
inline constexpr uint32_t kUpdatePaused = 1u << 9;
inline constexpr uint32_t kUpdateStarted = 1u << 10;
inline constexpr uint32_t kUninstalling = 1u << 11;
inline constexpr uint32_t kBackupRunning = 1u << 12;
inline constexpr uint32_t kAppRunning = 1u << 13;
inline constexpr uint32_t kComponentInUse = 1u << 14;
inline constexpr uint32_t kMovingFolder = 1u << 15;
inline constexpr uint32_t kPhaseReconfiguring = 1u << 16;
inline constexpr uint32_t kPhaseValidating = 1u << 17;
inline constexpr uint32_t kPhaseAddingFiles = 1u << 18;
inline constexpr uint32_t kPhasePreallocating = 1u << 19;
inline constexpr uint32_t kPhaseDownloading = 1u << 20;
inline constexpr uint32_t kPhaseStaging = 1u << 21;
inline constexpr uint32_t kPhaseCommitting = 1u << 22;
inline constexpr uint32_t kPhaseStopping = 1u << 23;
}  // namespace state_flag

/** Names of the set bits, lowest first; a bit without a name becomes "bit 31". */
std::vector<std::string> state_flag_names(uint32_t flags);

/** appmanifest_<AppID>.acf: what the client knows of one title in one library. Sizes in bytes. */
struct AppManifest {
    uint64_t app_id = 0;
    std::string name;
    std::string install_dir;  // a folder's name, relative to steamapps/common
    uint32_t state_flags = 0;
    uint64_t build_id = 0;
    uint64_t target_build_id = 0;  // 0: none; differs from build_id while an update is pending
    uint64_t size_on_disk = 0;
    uint64_t bytes_to_download = 0;
    uint64_t bytes_downloaded = 0;
    int64_t last_updated = 0;  // seconds since 1970
    /** The client installed the Windows files, which then run with Proton. */
    bool windows_files = false;
};

/** An error if it is no manifest: no AppState, no app id, or an install folder outside common/. */
Result<AppManifest> read_app_manifest(const VdfNode& root);

/** Reads the file; errors begin with its path. */
Result<AppManifest> load_app_manifest(const std::string& path);

}  // namespace stepscope::steam
