// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "error.hpp"
#include "unique_fd.hpp"

/**
 * Where sessions live: one directory each, `<runtime directory>/stepscope/<name>/`, mode 0700.
 *
 *   lock      held (flock) by the compositor for its life; what tells a running from a dead one
 *   control   the control display's socket
 *   info.json facts for people: pid, command, size; written once, at start
 *   runtime/  the game's XDG_RUNTIME_DIR, with its Wayland socket
 */
namespace stepscope {

/** Longest session name; keeps socket paths within their limit. */
inline constexpr size_t kMaxSessionName = 32;

/** Letters, digits, '-', '_' and '.', not starting with '.', 1 to kMaxSessionName of them. */
Result<void> check_session_name(std::string_view name);

/**
 * $XDG_RUNTIME_DIR/stepscope, or /tmp/stepscope-<uid> where that variable is unset. Created if
 * missing; an error if it is somebody else's or can't be used.
 */
Result<std::string> sessions_directory();

/** Path of the control socket of a session, whether or not it runs. */
std::string control_socket_path(const std::string& sessions_directory, std::string_view name);

struct SessionInfo {
    std::string name;
    std::string directory;
    pid_t pid = 0;
    std::string command;
    unsigned width = 0;
    unsigned height = 0;
    std::string refresh;
    std::string renderer;
};

/** Running sessions, sorted by name. Remains of dead ones are skipped. */
Result<std::vector<SessionInfo>> list_sessions();

/**
 * The session a consumer means: `name` if not empty, else $STEPSCOPE_SESSION, else the only one
 * that runs. Anything else is an error that lists what there is.
 */
Result<SessionInfo> find_session(std::string_view name);

/** A session's directory, held for the compositor's life. */
class SessionDirectory {
public:
    /**
     * Takes the name: creates the directory, or clears and takes over a dead session's. An empty
     * name picks the first free of "game", "game-2", …
     */
    static Result<SessionDirectory> create(std::string_view name);

    SessionDirectory(SessionDirectory&&) = default;
    SessionDirectory& operator=(SessionDirectory&&) = default;
    ~SessionDirectory() { remove(); }

    const std::string& name() const { return name_; }
    const std::string& path() const { return path_; }
    std::string control_socket() const { return path_ + "/control"; }
    std::string runtime_directory() const { return path_ + "/runtime"; }

    /**
     * Removes the directory, unless it went away before; one that another session has put there
     * since then stays. A forked child may do so, too.
     */
    void remove() const;

    /** Makes the session visible to list_sessions() and find_session(). */
    Result<void> publish(const SessionInfo& info) const;

private:
    SessionDirectory(std::string name, std::string path, UniqueFd lock);

    std::string name_;
    std::string path_;
    UniqueFd lock_;
};

}  // namespace stepscope
