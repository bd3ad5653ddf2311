// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session_registry.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <nlohmann/json.hpp>

namespace stepscope {
namespace {

namespace fs = std::filesystem;

/** Creates `path` with mode 0700, or checks that what is there is ours alone. */
Result<void> make_private_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) {
        return fail_errno(std::format("can't create '{}'", path));
    }
    struct stat status{};
    if (::lstat(path.c_str(), &status) < 0) {
        return fail_errno(std::format("can't look at '{}'", path));
    }
    if (!S_ISDIR(status.st_mode)) {
        return fail(Fault::permission, std::format("'{}' is not a directory; remove it", path));
    }
    if (status.st_uid != ::geteuid()) {
        return fail(Fault::permission,
                    std::format("'{}' belongs to user {}, not to you ({}); set XDG_RUNTIME_DIR to "
                                "a directory of your own",
                                path, status.st_uid, ::geteuid()));
    }
    if ((status.st_mode & 077) != 0 && ::chmod(path.c_str(), 0700) < 0) {
        return fail_errno(std::format("can't make '{}' private", path));
    }
    return {};
}

/** An exclusive lock on the file, or nothing if somebody holds it. */
Result<UniqueFd> try_lock(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) {
        return fail_errno(std::format("can't open '{}'", path));
    }
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK) {
            return fail(Fault::busy, std::format("'{}' is held", path));
        }
        return fail_errno(std::format("can't lock '{}'", path));
    }
    return fd;
}

bool is_running(const std::string& directory) {
    UniqueFd fd(::open((directory + "/lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    return fd && ::flock(fd.get(), LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

void remove_tree(const std::string& path) {
    std::error_code ignored;
    fs::remove_all(path, ignored);
}

/** The lock was taken on the file that is there, and not on that of a session that has ended. */
bool is_file(const UniqueFd& lock, const std::string& path) {
    struct stat held{};
    struct stat there{};
    return ::fstat(lock.get(), &held) == 0 && ::lstat(path.c_str(), &there) == 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

/** …while sessions of that name come and go. */
Result<UniqueFd> lock_directory(const std::string& path) {
    constexpr int kTries = 1000;
    const std::string file = path + "/lock";
    for (int i = 0; i < kTries; ++i) {
        if (auto made = make_private_directory(path); !made) {
            if (made.error().fault == Fault::not_found) {
                continue;  // removed between two looks
            }
            return std::unexpected(made.error());
        }
        auto lock = try_lock(file);
        if (lock ? is_file(*lock, file) : lock.error().fault != Fault::not_found) {
            return lock;
        }
    }
    return fail(Fault::busy, std::format("'{}' comes and goes", path));
}

/** By who holds its lock. What another session puts there meanwhile stays. */
void remove_session_directory(const std::string& directory) {
    // Out of the way first: were it emptied in its place, another session could move in meanwhile.
    const fs::path path(directory);
    const std::string away =
        (path.parent_path() / std::format(".{}-{}", path.filename().string(), ::getpid())).string();
    remove_tree(::rename(directory.c_str(), away.c_str()) == 0 ? away : directory);
}

Result<SessionInfo> read_info(const std::string& name, const std::string& directory) {
    std::ifstream file(directory + "/info.json");
    auto json = nlohmann::json::parse(file, nullptr, false);
    if (!json.is_object()) {
        return fail(Fault::not_found, std::format("session '{}' has not started yet", name));
    }
    SessionInfo info;
    info.name = name;
    info.directory = directory;
    try {
        info.pid = json.value("pid", 0);
        info.command = json.value("command", "");
        info.width = json.value("width", 0U);
        info.height = json.value("height", 0U);
        info.refresh = json.value("refresh", "");
        info.renderer = json.value("renderer", "");
    } catch (const nlohmann::json::exception& error) {
        return fail(Fault::protocol,
                    std::format("'{}/info.json' is broken: {}", directory, error.what()));
    }
    return info;
}

}  // namespace

Result<void> check_session_name(std::string_view name) {
    auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
    };
    if (name.empty() || name.size() > kMaxSessionName || name.front() == '.' ||
        !std::ranges::all_of(name, allowed)) {
        return fail(Fault::usage,
                    std::format("'{}' is no session name; expected 1 to {} letters, digits, '-', "
                                "'_' or '.', not starting with '.'",
                                name, kMaxSessionName));
    }
    return {};
}

Result<std::string> sessions_directory() {
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    std::string path;
    if (runtime != nullptr && *runtime != '\0') {
        if (::access(runtime, R_OK | W_OK | X_OK) < 0) {
            return fail_errno(
                std::format("XDG_RUNTIME_DIR is '{}', which can't be used; set it to a directory "
                            "of your own, or unset it",
                            runtime));
        }
        path = std::string(runtime) + "/stepscope";
    } else {
        path = std::format("/tmp/stepscope-{}", ::geteuid());
    }
    if (auto made = make_private_directory(path); !made) {
        return std::unexpected(made.error());
    }
    return path;
}

std::string control_socket_path(const std::string& sessions_directory, std::string_view name) {
    return std::format("{}/{}/control", sessions_directory, name);
}

Result<std::vector<SessionInfo>> list_sessions() {
    auto root = sessions_directory();
    if (!root) {
        return std::unexpected(root.error());
    }
    std::vector<SessionInfo> sessions;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(*root, error)) {
        const std::string directory = entry.path();
        if (!check_session_name(entry.path().filename().string()) || !is_running(directory)) {
            continue;
        }
        // A session that has its lock but no info yet is starting: nobody can use it.
        if (auto info = read_info(entry.path().filename(), directory)) {
            sessions.push_back(std::move(*info));
        }
    }
    std::ranges::sort(sessions, {}, &SessionInfo::name);
    return sessions;
}

Result<SessionInfo> find_session(std::string_view name) {
    std::string wanted(name);
    std::string origin = "session";
    if (wanted.empty()) {
        if (const char* variable = std::getenv("STEPSCOPE_SESSION");
            variable != nullptr && *variable != '\0') {
            wanted = variable;
            origin = "STEPSCOPE_SESSION";
        }
    }
    auto sessions = list_sessions();
    if (!sessions) {
        return std::unexpected(sessions.error());
    }
    std::string names;
    for (const SessionInfo& session : *sessions) {
        names += (names.empty() ? "" : ", ") + session.name;
    }
    if (wanted.empty()) {
        if (sessions->size() == 1) {
            return sessions->front();
        }
        if (sessions->empty()) {
            return fail(Fault::not_found,
                        "no session is running; start one with: stepscope -- COMMAND");
        }
        return fail(Fault::usage,
                    std::format("{} sessions are running ({}); choose one with session=NAME or "
                                "STEPSCOPE_SESSION",
                                sessions->size(), names));
    }
    if (auto valid = check_session_name(wanted); !valid) {
        return std::unexpected(valid.error());
    }
    auto found = std::ranges::find(*sessions, wanted, &SessionInfo::name);
    if (found == sessions->end()) {
        return fail(Fault::not_found,
                    std::format("no session '{}' ({}) is running; {}", wanted, origin,
                                names.empty()
                                    ? "start it with: stepscope --session " + wanted + " -- COMMAND"
                                    : "running: " + names));
    }
    return *found;
}

SessionDirectory::SessionDirectory(std::string name, std::string path, UniqueFd lock)
    : name_(std::move(name)), path_(std::move(path)), lock_(std::move(lock)) {}

void SessionDirectory::remove() const {
    // What starts a session may have removed it before us.
    if (lock_ && is_file(lock_, path_ + "/lock")) {
        remove_session_directory(path_);
    }
}

Result<SessionDirectory> SessionDirectory::create(std::string_view name) {
    auto root = sessions_directory();
    if (!root) {
        return std::unexpected(root.error());
    }
    auto take = [&](const std::string& candidate) -> Result<SessionDirectory> {
        std::string path = std::format("{}/{}", *root, candidate);
        auto lock = lock_directory(path);
        if (!lock) {
            if (lock.error().fault == Fault::busy) {
                return fail(Fault::busy, std::format("a session '{}' is running already; choose "
                                                     "another name with --session NAME",
                                                     candidate));
            }
            return std::unexpected(lock.error());
        }
        SessionDirectory directory(candidate, path, std::move(*lock));
        // A dead session may have left sockets and files; only its lock is ours now.
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator(path, ignored)) {
            if (entry.path().filename() != "lock") {
                remove_tree(entry.path());
            }
        }
        if (auto made = make_private_directory(directory.runtime_directory()); !made) {
            return std::unexpected(made.error());
        }
        return directory;
    };
    if (!name.empty()) {
        if (auto valid = check_session_name(name); !valid) {
            return std::unexpected(valid.error());
        }
        return take(std::string(name));
    }
    for (unsigned number = 1; number <= 999; ++number) {
        auto directory = take(number == 1 ? "game" : std::format("game-{}", number));
        if (directory || directory.error().fault != Fault::busy) {
            return directory;
        }
    }
    return fail(Fault::busy, "999 sessions are running already; name this one with --session");
}

Result<void> SessionDirectory::publish(const SessionInfo& info) const {
    nlohmann::json json{{"pid", info.pid},         {"command", info.command},
                        {"width", info.width},     {"height", info.height},
                        {"refresh", info.refresh}, {"renderer", info.renderer}};
    // Renamed into place: a reader sees all of it or nothing.
    const std::string temporary = path_ + "/info.json.new";
    const std::string target = path_ + "/info.json";
    std::ofstream file(temporary);
    file << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    file.close();
    if (!file || ::rename(temporary.c_str(), target.c_str()) < 0) {
        return fail_errno(std::format("can't write '{}'", target));
    }
    return {};
}

}  // namespace stepscope
