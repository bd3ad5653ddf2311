// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam_fixture.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

namespace stepscope::test {
namespace {

namespace fs = std::filesystem;

void replace_all(std::string& text, std::string_view from, const std::string& to) {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
        text.replace(at, from.size(), to);
        at += to.size();
    }
}

}  // namespace

SteamFixture::SteamFixture() {
    std::string pattern = fs::temp_directory_path() / "stepscope steam é-XXXXXX";
    base = ::mkdtemp(pattern.data());
    base = fs::canonical(base);
    fs::copy(STEPSCOPE_STEAM_FIXTURE, base, fs::copy_options::recursive);
    home = base + "/home";
    root = home + "/.local/share/Steam";
    disk = base + "/disk";
    missing = base + "/media/unplugged";
    old = base + "/old/Steam";
    proc = base + "/proc";
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(base)) {
        if (entry.is_regular_file()) {
            files.push_back(entry.path());
        }
    }
    for (const auto& path : files) {
        std::ifstream input(path, std::ios::binary);
        std::string content(std::istreambuf_iterator<char>(input), {});
        replace_all(content, "@HOME@", home);
        replace_all(content, "@DISK@", disk);
        replace_all(content, "@MISSING@", missing);
        write(path, content);
    }
    fs::create_directories(proc);
    fs::create_directories(home + "/.steam");
    fs::create_directory_symlink(root, home + "/.steam/root");
    fs::create_directory_symlink(root, home + "/.steam/steam");
}

SteamFixture::~SteamFixture() {
    std::error_code ignored;
    fs::remove_all(base, ignored);
}

steam::SteamEnvironment SteamFixture::environment() const {
    return {.home = home, .data_home = home + "/.local/share", .root = "", .proc = proc};
}

void SteamFixture::write(const std::string& path, std::string_view content) const {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream output(path, std::ios::binary | std::ios::trunc);
    output << content;
    if (!output.flush()) {
        throw std::runtime_error("can't write " + path);
    }
}

void SteamFixture::add_process(pid_t pid, const std::string& name, std::string arguments) const {
    std::string directory = proc + "/" + std::to_string(pid);
    std::ranges::replace(arguments, ' ', '\0');
    write(directory + "/comm", name + "\n");
    write(directory + "/cmdline", arguments + '\0');
}

UniqueFd SteamFixture::listen_as_client() const {
    std::string path = home + "/.steam/steam.pipe";
    if (::mkfifo(path.c_str(), 0600) < 0) {
        throw std::runtime_error("can't make " + path);
    }
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace stepscope::test
