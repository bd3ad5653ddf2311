// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_daemon.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "requirement.hpp"

namespace stepscope::testing {
namespace {

using namespace std::chrono_literals;

constexpr const char* kConfiguration = R"(
context.properties = { core.daemon = true core.name = pipewire-0 support.dbus = false }
context.spa-libs = { support.* = support/libspa-support }
context.modules = [
    { name = libpipewire-module-protocol-native }
    { name = libpipewire-module-metadata }
    { name = libpipewire-module-client-node }
    { name = libpipewire-module-access }
    { name = libpipewire-module-adapter }
    { name = libpipewire-module-link-factory }
]
)";

}  // namespace

PipewireDaemon::PipewireDaemon() {
    std::string pattern = "/tmp/stepscope-pipewire-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    ::setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
    std::string configuration = directory_ + "/test.conf";
    std::ofstream(configuration) << kConfiguration;
    std::string program = "pipewire";
    std::string option = "-c";
    const std::array<char*, 4> words{program.data(), option.data(), configuration.data(), nullptr};
    if (::posix_spawnp(&pid_, "pipewire", nullptr, nullptr, words.data(), environ) != 0) {
        missing("PipeWire is not installed");
    }
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!std::filesystem::exists(directory_ + "/pipewire-0")) {
        REQUIRE(std::chrono::steady_clock::now() < deadline);
        std::this_thread::sleep_for(20ms);
    }
}

PipewireDaemon::~PipewireDaemon() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

}  // namespace stepscope::testing
