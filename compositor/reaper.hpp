// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/session_registry.hpp"
#include "base/unique_fd.hpp"

/**
 * The reaper: a small process between compositor and game. It is the game's parent and the
 * subreaper of all that the game starts, so that nothing of it outlives the session; and it cleans
 * up after a compositor that was killed. They talk in CBOR objects (arguments are any bytes, which
 * JSON text can't hold) over a SOCK_SEQPACKET pair:
 *
 *   to the reaper      {"start": {"argv": [...], "env": ["K=V", ...],
 *                                 "inherit": [descriptors]}}
 *                      {"remove": [paths], "lock": path}   to be removed if the compositor dies
 *                                            without a word, and the lock has its number still
 *                      {"terminate": ms}     ask the game to end, then make it, after so long
 *   from the reaper    {"started": pid}, {"not_started": errno}
 *                      {"ended": {"exited": status}} or {"ended": {"signaled": number}},
 *                      with "left": whether other processes of the game go on
 *                      {"empty": true}       no process of the game is left
 */
namespace stepscope {

struct Reaper {
    pid_t pid = -1;
    UniqueFd socket;
};

/**
 * Forks the reaper; call while the process has one thread. `directory` is removed if the
 * compositor dies; `close_in_reaper` are descriptors whose other ends watch for our death.
 */
Result<Reaper> start_reaper(const SessionDirectory& directory,
                            const std::vector<int>& close_in_reaper);

}  // namespace stepscope
