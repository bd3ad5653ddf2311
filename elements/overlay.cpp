// SPDX-License-Identifier: LGPL-2.1-or-later
#include "overlay.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace stepscope {
namespace {

constexpr const char* kBubblewrap = "/usr/bin/bwrap";

void strip_from_variable(SessionCommand& command) {
    const char* ours = std::getenv("LD_PRELOAD");
    auto wanted =
        std::ranges::find(command.environment, "LD_PRELOAD", &steam::EnvironmentChange::name);
    const bool given = wanted != command.environment.end();
    const std::string kept = steam::without_overlay(given             ? wanted->value
                                                    : ours != nullptr ? ours
                                                                      : "");
    if (given) {
        wanted->value = kept;
        wanted->unset = wanted->unset || kept.empty();
    } else if (ours != nullptr) {
        command.environment.push_back({"LD_PRELOAD", kept, kept.empty()});
    }
}

}  // namespace

Result<void> strip_overlay(SessionCommand& command, const LaunchPlan& plan) {
    strip_from_variable(command);
    const PlannedTitle* planned = plan.client_title();
    if (planned == nullptr) {
        return {};
    }
    if (::access(kBubblewrap, X_OK) != 0) {
        return fail(Fault::unsupported,
                    "strip-overlay needs bubblewrap (bwrap) where the Steam client starts the "
                    "title; install it, or turn the overlay off in the client's settings");
    }
    std::vector<std::string> words{kBubblewrap, "--dev-bind", "/", "/"};
    for (const char* folder : {"ubuntu12_32", "ubuntu12_64"}) {
        const std::string library =
            planned->installation.root + "/" + folder + "/gameoverlayrenderer.so";
        if (::access(library.c_str(), F_OK) == 0) {
            words.insert(words.end(), {"--ro-bind", "/dev/null", library});
        }
    }
    words.emplace_back("--");
    command.game.insert(command.game.begin(), words.begin(), words.end());
    return {};
}

}  // namespace stepscope
