// SPDX-License-Identifier: LGPL-2.1-or-later
#include "standin_title.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <format>
#include <fstream>
#include <iterator>

namespace stepscope::test {
namespace {

void set_value(std::string& manifest, const std::string& key, uint64_t value) {
    const std::string start = "\"" + key + "\"\t\t\"";
    const size_t at = manifest.find(start);
    if (at != std::string::npos) {
        const size_t from = at + start.size();
        manifest.replace(from, manifest.find('"', from) - from, std::to_string(value));
    }
}

void sleep_ms(int milliseconds) {
    ::usleep(static_cast<useconds_t>(milliseconds) * 1000);
}

}  // namespace

StandinTitle::StandinTitle(const nlohmann::json& settings, std::string folder, std::string app_id,
                           std::vector<std::string> arguments)
    : settings_(settings),
      folder_(std::move(folder)),
      app_id_(std::move(app_id)),
      arguments_(std::move(arguments)) {}

void StandinTitle::launch() const {
    const auto titles = settings_.value("titles", nlohmann::json::object());
    if (!titles.contains(app_id_) || ::fork() != 0) {
        return;
    }
    update();
    compile_shaders();
    std::vector<std::string> words{folder_ + "/reaper", "SteamLaunch", "AppId=" + app_id_, "--"};
    for (const auto& word : titles.at(app_id_)) {
        words.push_back(word);
    }
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> argv;
    for (auto& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    ::setenv("SteamAppId", app_id_.c_str(), 1);
    ::setenv("SteamGameId", app_id_.c_str(), 1);
    if (const std::string overlay = settings_.value("overlay", ""); !overlay.empty()) {
        ::setenv("LD_PRELOAD", overlay.c_str(), 1);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
}

void StandinTitle::update() const {
    const std::string path = settings_.value("update", "");
    if (path.empty()) {
        return;
    }
    std::ifstream input(path);
    std::string manifest(std::istreambuf_iterator<char>(input), {});
    constexpr uint64_t kParts = 4;
    for (uint64_t part = 1; part <= kParts; ++part) {
        set_value(manifest, "StateFlags", 1030);  // installed, update required, running
        set_value(manifest, "BytesToDownload", kParts * 1000);
        set_value(manifest, "BytesDownloaded", part * 1000);
        std::ofstream(path) << manifest;
        sleep_ms(settings_.value("update-ms", 1200));
    }
    set_value(manifest, "StateFlags", 4);
    set_value(manifest, "BytesToDownload", 0);
    set_value(manifest, "BytesDownloaded", 0);
    std::ofstream(path) << manifest;
}

void StandinTitle::compile_shaders() const {
    const int milliseconds = settings_.value("shaders-ms", 0);
    if (milliseconds == 0) {
        return;
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_NAME, "fossilize_replay");
        sleep_ms(milliseconds);
        ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
}

}  // namespace stepscope::test
