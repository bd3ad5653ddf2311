// SPDX-License-Identifier: LGPL-2.1-or-later
#include "game_process.hpp"

#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstring>
#include <format>

namespace stepscope {
namespace {

using Json = nlohmann::json;

constexpr int kReaperEndMs = 7000;

}  // namespace

int GameEnd::exit_status() const {
    switch (how) {
        case How::exited:
            return value;
        case How::signaled:
            return 128 + value;
        case How::not_started:
            return value == ENOENT ? 127 : 126;
    }
    return 1;
}

std::string GameEnd::describe() const {
    switch (how) {
        case How::exited:
            return std::format("exited with status {}", value);
        case How::signaled:
            return std::format("was ended by signal {} ({})", value, ::strsignal(value));
        case How::not_started:
            return std::format("can't be started: {}", std::strerror(value));
    }
    return {};
}

GameProcess::GameProcess(wl_event_loop* loop, Reaper reaper, Hooks hooks)
    : reaper_(std::move(reaper)),
      hooks_(std::move(hooks)),
      source_(wl_event_loop_add_fd(loop, reaper_.socket.get(), WL_EVENT_READABLE, handle_message,
                                   this)) {}

GameProcess::~GameProcess() {
    source_.reset();
    // The X server's files are removed with it: others may have their names from then on.
    remove_after_crash({}, "");
    reaper_.socket.reset();
    for (int waited_ms = 0; waited_ms < kReaperEndMs; waited_ms += 5) {
        if (::waitpid(reaper_.pid, nullptr, WNOHANG) != 0) {
            return;
        }
        ::usleep(5000);
    }
    ::kill(reaper_.pid, SIGKILL);
    ::waitpid(reaper_.pid, nullptr, 0);
}

bool GameProcess::send(const Json& message) const {
    const std::vector<uint8_t> bytes = Json::to_cbor(message);
    return ::send(reaper_.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
}

void GameProcess::start(const std::vector<std::string>& command,
                        const std::vector<std::string>& environment,
                        const std::vector<int>& inherit) {
    if (!send({{"start", {{"argv", command}, {"env", environment}, {"inherit", inherit}}}})) {
        hooks_.ended({GameEnd::How::not_started, errno}, false);
    }
}

void GameProcess::remove_after_crash(const std::vector<std::string>& paths,
                                     const std::string& lock) {
    send({{"remove", paths}, {"lock", lock}});
}

void GameProcess::terminate(std::chrono::milliseconds grace) {
    send({{"terminate", grace.count()}});
}

int GameProcess::handle_message(int /*fd*/, uint32_t /*mask*/, void* data) {
    static_cast<GameProcess*>(data)->receive();
    return 0;
}

void GameProcess::receive() {
    std::array<char, 4096> buffer{};
    const ssize_t size = ::recv(reaper_.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (size <= 0) {
        source_.reset();
        hooks_.lost();
        return;
    }
    const Json message = Json::from_cbor(buffer.begin(), buffer.begin() + size, true, false);
    if (message.contains("started")) {
        hooks_.started(message.at("started").get<pid_t>());
    } else if (message.contains("not_started")) {
        hooks_.ended({GameEnd::How::not_started, message.at("not_started").get<int>()}, false);
    } else if (message.contains("ended")) {
        const Json& end = message.at("ended");
        hooks_.ended(end.contains("exited")
                         ? GameEnd{GameEnd::How::exited, end.at("exited").get<int>()}
                         : GameEnd{GameEnd::How::signaled, end.at("signaled").get<int>()},
                     message.at("left").get<bool>());
    } else if (message.contains("empty")) {
        hooks_.empty();
    }
}

}  // namespace stepscope
