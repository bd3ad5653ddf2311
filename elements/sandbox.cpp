// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sandbox.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/session_registry.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBubblewrap = "/usr/bin/bwrap";

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

/** Whether `path` is below `folder`, and not the folder itself. */
bool is_below(const std::string& path, const std::string& folder) {
    if (path.empty() || folder.empty()) {
        return false;
    }
    const fs::path inside =
        fs::path(path).lexically_normal().lexically_relative(fs::path(folder).lexically_normal());
    return !inside.empty() && *inside.begin() != ".." && *inside.begin() != ".";
}

}  // namespace

Result<void> add_sandbox(SessionCommand& command, const LaunchSettings& settings,
                         const LaunchPlan& plan, const std::string& session) {
    if (plan.by_client()) {
        return fail(Fault::usage,
                    "sandbox can't be with the Steam client inside, which needs the user's home; "
                    "use launch-method=direct");
    }
    if (settings.lockstep) {
        return fail(Fault::usage,
                    "sandbox and mode=lockstep exclude each other: the clock must be in the game");
    }
    if (::access(kBubblewrap, X_OK) != 0) {
        return fail(Fault::unsupported,
                    "sandbox needs bubblewrap, and there is no /usr/bin/bwrap; install it");
    }
    auto sessions = sessions_directory();
    if (!sessions) {
        return std::unexpected(sessions.error());
    }
    const std::string home = variable("HOME");
    const std::string outer = variable("XDG_RUNTIME_DIR");
    const std::string runtime = *sessions + "/" + session + "/runtime";
    std::vector<std::string> words{kBubblewrap, "--ro-bind", "/",      "/",     "--dev-bind",
                                   "/dev",      "/dev",      "--proc", "/proc", "--tmpfs",
                                   "/dev/shm",  "--tmpfs",   "/tmp"};
    const auto bind = [&words](const char* how, const std::string& path) {
        words.insert(words.end(), {how, path, path});
    };
    for (const std::string& folder : {home, outer}) {
        if (!folder.empty()) {
            words.insert(words.end(), {"--tmpfs", folder});
        }
    }
    bind("--ro-bind-try", "/tmp/.X11-unix");
    // The title itself may be in what was just hidden, and so may a program with its files.
    const fs::path program(command.game.front());
    for (const std::string& folder :
         {plan.title ? plan.title->title.install_path : std::string(), command.working_directory,
          program.is_absolute() ? program.parent_path().string() : std::string()}) {
        if (is_below(folder, home) || is_below(folder, outer) || is_below(folder, "/tmp")) {
            if (!is_below(home, folder) && !is_below(outer, folder)) {
                bind("--ro-bind-try", folder);
            }
        }
    }
    bind("--ro-bind-try", outer + "/pulse/native");
    bind("--bind", runtime);
    words.insert(words.end(), {"--unshare-pid", "--die-with-parent", "--new-session", "--"});
    command.game.insert(command.game.begin(), words.begin(), words.end());
    return {};
}

}  // namespace stepscope
