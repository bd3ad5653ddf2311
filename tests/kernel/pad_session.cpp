// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pad_session.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>
#include <utility>

#include "base/unique_fd.hpp"
#include "requirement.hpp"
#include "tests/game/frame_code.hpp"

namespace stepscope::testing {
namespace {

constexpr int kWatchdogMs = 120'000;

std::set<std::string> input_devices() {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/input")) {
        if (entry.path().filename().string().starts_with("event")) {
            all.insert(entry.path());
        }
    }
    return all;
}

}  // namespace

bool wait_until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kWatchdogMs);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

Process::Process(std::vector<std::string> words) {
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    if (::posix_spawnp(&pid_, arguments.front(), nullptr, nullptr, arguments.data(), environ) !=
        0) {
        FAIL("can't start " << words.front());
    }
}

Process::~Process() {
    end(SIGKILL);
}

void Process::end(int signal) {
    if (pid_ > 0) {
        ::kill(pid_, signal);
        ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    }
}

PadSession::PadSession(std::vector<std::string> options, const std::vector<std::string>& game) {
    if (::access("/dev/uinput", R_OK | W_OK) < 0) {
        missing("there is no /dev/uinput to write to");
    }
    std::string pattern = "/tmp/stepscope-kernel-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    name_ = directory_.substr(directory_.size() - 6);
    int ends[2];
    REQUIRE(::pipe2(ends, 0) == 0);
    const UniqueFd ready(ends[0]);
    UniqueFd told(ends[1]);
    ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
    const std::set<std::string> before = input_devices();
    options.insert(options.begin(), {program("STEPSCOPE"), "--session", name_, "-W", "320", "-H",
                                     "240", "--no-xwayland", "--renderer", "pixman", "--ready-fd",
                                     std::to_string(told.get())});
    options.emplace_back("--");
    options.insert(options.end(), game.begin(), game.end());
    for (std::string& word : options) {
        if (word == "REPORT") {
            word = report_file();
        }
    }
    process_.emplace(options);
    told.reset();
    pollfd polled{ready.get(), POLLIN, 0};
    char line[512];
    if (::poll(&polled, 1, kWatchdogMs) != 1 || ::read(ready.get(), line, sizeof(line)) <= 0) {
        FAIL("the session did not start");
    }
    for (const std::string& node : input_devices()) {
        if (!before.contains(node)) {
            pads_.push_back(node);
        }
    }
    // By number: that is the order in which they were made.
    std::ranges::sort(pads_, {}, [](const std::string& node) {
        return std::stoi(node.substr(node.find_first_of("0123456789")));
    });
}

PadSession::~PadSession() {
    end(SIGTERM);
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

bool PadSession::pads_are_gone() const {
    return std::ranges::none_of(pads_,
                                [](const auto& node) { return std::filesystem::exists(node); });
}

const std::vector<nlohmann::json>& PadSession::events() {
    if (!report_.is_open()) {
        report_.open(report_file());
    }
    for (std::string line; std::getline(report_, line) && !report_.eof();) {
        nlohmann::json parsed = nlohmann::json::parse(line);
        if (parsed.at("event") == "pad") {
            events_.push_back(std::move(parsed));
        }
    }
    report_.clear();
    return events_;
}

size_t PadSession::events_until(uint32_t input) {
    return static_cast<size_t>(std::ranges::count_if(
        events(), [input](const auto& event) { return event.at("input") <= input; }));
}

Agent::Agent(const PadSession& session)
    : pipeline_({"gst-launch-1.0", "-q", "wlscreencopysrc", "mode=lockstep", "timeout=60000",
                 "session=" + session.name(), "!", "video/x-raw,framerate=60/1", "!", "fencesink",
                 "wait=steps", "socket-path=" + session.socket()}) {
    const stepscope_agent_options options{.name = "test", .credits = 2, .steps = 1};
    char why[256] = "";
    const bool connected = wait_until([&] {
        agent_ = stepscope_agent_connect(session.socket().c_str(), &options, why, sizeof(why));
        return agent_ != nullptr;
    });
    INFO(why);
    REQUIRE(connected);
    take_frame(0);
}

Agent::~Agent() {
    stepscope_agent_destroy(agent_);
}

void Agent::kill_pipeline() {
    pipeline_.end(SIGKILL);
}

uint32_t Agent::step() {
    uint64_t sequence = 0;
    REQUIRE(stepscope_agent_step(agent_, &sequence) == 0);
    return take_frame(sequence);
}

uint32_t Agent::take_frame(uint64_t sequence) {
    for (;;) {
        stepscope_agent_event event{};
        const int got = stepscope_agent_next(agent_, kWatchdogMs, &event);
        INFO(stepscope_agent_error(agent_));
        REQUIRE(got == 1);
        REQUIRE(event.type != STEPSCOPE_AGENT_END);
        if (event.type == STEPSCOPE_AGENT_SLOT) {
            slots_[event.slot.slot] = event.slot;
        } else if (event.type == STEPSCOPE_AGENT_REFUSED) {
            refusals_.emplace_back(event.text);
        } else if (event.type == STEPSCOPE_AGENT_FRAME) {
            const auto& plane = slots_.at(event.frame.slot).plane[0];
            const auto* bytes =
                static_cast<const uint8_t*>(stepscope_agent_map(agent_, event.frame.slot));
            REQUIRE(bytes != nullptr);
            const frame_code::ConstPixels pixels{bytes, 320, 240, plane.stride};
            const auto seen = frame_code::read_input_sequence(pixels);
            picture_ = 0;
            for (uint32_t y = 0; y < 240; ++y) {
                const auto* row =
                    reinterpret_cast<const uint32_t*>(bytes + size_t{y} * plane.stride);
                for (uint32_t x = 0; x < 320; ++x) {
                    // The fourth byte means nothing.
                    picture_ = (picture_ ^ (row[x] & 0xffffff)) * 0x100000001b3;
                }
            }
            REQUIRE(stepscope_agent_release(agent_, event.frame.frame, -1) == 0);
            if (event.frame.answers == sequence) {
                return seen.value_or(0);
            }
        }
    }
}

}  // namespace stepscope::testing
