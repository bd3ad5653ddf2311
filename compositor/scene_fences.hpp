// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <optional>

#include "base/sync_file.hpp"
#include "wlr.hpp"

/** What a compositor does about fences where its renderer knows none. */
namespace stepscope {

/**
 * Makes the scene forget the acquire points of its surfaces: a renderer without fences would leave
 * out what it can't wait for.
 */
void take_fences_from_scene(wlr_scene_output* output);

/** What has to signal before everything visible may be read; empty if it may be. */
std::optional<SyncFile> pending_in_scene(wlr_scene_output* output);

}  // namespace stepscope
