// SPDX-License-Identifier: LGPL-2.1-or-later
/**
 * Stands in for the Steam client's program, as far as its command line is documented:
 *
 *   steam [-silent] [-applaunch ID [ARGUMENTS]] [steam://run/ID] [steam://rungameid/ID]
 *
 * The first one detaches and stays; a later one hands its arguments over through the FIFO
 * ~/.steam/steam.pipe and exits. Settings are in ~/.steam/standin.json:
 *
 *   titles     {"ID": [command, arguments…]}
 *   window     a command that shows a window of the client's own
 *   hang       take no orders
 *   login      false: write no "Logged On" into the connection log
 *   log        path of the connection log
 *   overlay    LD_PRELOAD for titles
 *   update     path of a manifest to work on before a title starts, each part for update-ms
 *   shaders-ms how long a fossilize_replay runs before that
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.hpp"
#include "standin_title.hpp"

using namespace stepscope;
namespace fs = std::filesystem;

namespace {

volatile std::sig_atomic_t ended = 0;

std::string state_folder() {
    const char* home = std::getenv("HOME");
    return std::string(home != nullptr ? home : "") + "/.steam";
}

/** Game ids have the shortcut's id in their upper half. */
std::string app_id_of(const std::string& id) {
    const unsigned long long number = std::strtoull(id.c_str(), nullptr, 10);
    return std::to_string(number > 0xffffffffULL ? number >> 32 : number);
}

void obey(const nlohmann::json& settings, const std::string& folder,
          const std::vector<std::string>& words) {
    for (size_t i = 0; i < words.size(); ++i) {
        for (const std::string start : {"steam://run/", "steam://rungameid/"}) {
            if (words[i].starts_with(start)) {
                test::StandinTitle(settings, folder, app_id_of(words[i].substr(start.size())), {})
                    .launch();
            }
        }
        if (words[i] == "-applaunch" && i + 1 < words.size()) {
            const std::vector<std::string> arguments(words.begin() + static_cast<long>(i) + 2,
                                                     words.end());
            test::StandinTitle(settings, folder, app_id_of(words[i + 1]), arguments).launch();
            return;
        }
    }
}

/** To the one that runs; false if none does. */
bool hand_over(const std::string& fifo, const std::vector<std::string>& words) {
    UniqueFd pipe(::open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (!pipe) {
        return false;
    }
    std::string order;
    for (const std::string& word : words) {
        order += word + '\x1f';
    }
    order += '\n';
    return ::write(pipe.get(), order.data(), order.size()) == static_cast<ssize_t>(order.size());
}

std::vector<std::string> words_of(const std::string& order) {
    std::vector<std::string> words;
    for (size_t start = 0; start < order.size();) {
        const size_t end = std::min(order.find('\x1f', start), order.size());
        words.push_back(order.substr(start, end - start));
        start = end + 1;
    }
    return words;
}

void show_window(const nlohmann::json& settings) {
    const auto window = settings.value("window", std::vector<std::string>());
    if (window.empty() || ::fork() != 0) {
        return;
    }
    auto words = window;
    std::vector<char*> argv;
    for (auto& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
}

void serve(const nlohmann::json& settings, const std::string& folder, const std::string& fifo) {
    UniqueFd pipe(::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    std::string pending;
    while (ended == 0) {
        pollfd polled{pipe.get(), POLLIN, 0};
        ::poll(&polled, 1, 100);
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        std::array<char, 4096> buffer{};
        const ssize_t size = ::read(pipe.get(), buffer.data(), buffer.size());
        pending.append(buffer.data(), size > 0 ? static_cast<size_t>(size) : 0);
        for (size_t end = 0; (end = pending.find('\n')) != std::string::npos;) {
            obey(settings, folder, words_of(pending.substr(0, end)));
            pending.erase(0, end + 1);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const std::string state = state_folder();
    const std::string fifo = state + "/steam.pipe";
    if (hand_over(fifo, words)) {
        return 0;
    }
    if (::fork() != 0) {
        return 0;
    }
    ::setsid();
    std::ifstream file(state + "/standin.json");
    const auto settings = nlohmann::json::parse(file, nullptr, false);
    ::mkfifo(fifo.c_str(), 0600);
    std::ofstream(state + "/steam.pid") << ::getpid() << '\n';
    if (settings.value("login", true)) {
        std::ofstream(settings.value("log", "/dev/null"), std::ios::app)
            << "[2026-01-01 00:00:00] [Logged On, 4, 7] [U:1:22202] ok\n";
    } else {
        std::ofstream(settings.value("log", "/dev/null"), std::ios::app)
            << "[2026-01-01 00:00:00] [Logged Off, 0, 0] [U:1:0] no password\n";
    }
    ::signal(SIGTERM, [](int) { ended = 1; });
    const std::string folder = fs::path(argv[0]).parent_path();
    show_window(settings);
    if (!settings.value("hang", false)) {
        obey(settings, folder, words);
    }
    serve(settings, folder, fifo);
    fs::remove(fifo);
    fs::remove(state + "/steam.pid");
    return 0;
}
