// SPDX-License-Identifier: LGPL-2.1-or-later
// Gamepads, from an agent at the frame socket through the compositor and the kernel to a game.
#include <fcntl.h>
#include <libevdev/libevdev.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stepscope-agent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "base/unique_fd.hpp"
#include "requirement.hpp"
#include "tests/game/frame_code.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using namespace std::chrono_literals;

namespace {

constexpr int kWatchdogMs = 120'000;
constexpr int64_t kStepNs = 16'666'667;

std::string environment(const char* variable) {
    const char* value = std::getenv(variable);
    if (value == nullptr) {
        missing(std::string("not set: ") + variable);
    }
    return value;
}

/** 300 are the record's. */
int step_count() {
    const char* count = std::getenv("STEPSCOPE_TEST_STEPS");
    return count != nullptr ? std::atoi(count) : 100;
}

bool wait_until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kWatchdogMs);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::sleep_for(20ms);
    }
    return true;
}

/** A program, killed with this object unless it has ended. */
class Process {
public:
    explicit Process(std::vector<std::string> words) {
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
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process() { end(SIGKILL); }

    void end(int signal) {
        if (pid_ > 0) {
            ::kill(pid_, signal);
            ::waitpid(std::exchange(pid_, -1), nullptr, 0);
        }
    }

private:
    pid_t pid_ = -1;
};

/** A session with gamepads. */
class PadSession {
public:
    PadSession(std::vector<std::string> options, const std::vector<std::string>& game) {
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
        const std::set<std::string> before = nodes();
        options.insert(options.begin(), {environment("STEPSCOPE"), "--session", name_, "-W", "320",
                                         "-H", "240", "--no-xwayland", "--renderer", "pixman",
                                         "--ready-fd", std::to_string(told.get())});
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
        for (const std::string& node : nodes()) {
            if (!before.contains(node)) {
                pads_.push_back(node);
            }
        }
        // By number: that is the order in which they were made.
        std::ranges::sort(pads_, {}, [](const std::string& node) {
            return std::stoi(node.substr(node.find_first_of("0123456789")));
        });
    }
    ~PadSession() {
        end(SIGTERM);
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    PadSession(const PadSession&) = delete;
    PadSession& operator=(const PadSession&) = delete;

    void end(int signal) { process_->end(signal); }
    const std::string& name() const { return name_; }
    const std::vector<std::string>& pads() const { return pads_; }
    std::string socket() const { return directory_ + "/frames"; }
    bool pads_are_gone() const {
        return std::ranges::none_of(pads_,
                                    [](const auto& node) { return std::filesystem::exists(node); });
    }

    /** The pad events that the game has reported so far, each with its number among all inputs. */
    const std::vector<nlohmann::json>& events() {
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
    /** How many of them came before this input or are it. */
    size_t events_until(uint32_t input) {
        return static_cast<size_t>(std::ranges::count_if(
            events(), [input](const auto& event) { return event.at("input") <= input; }));
    }

private:
    static std::set<std::string> nodes() {
        std::set<std::string> all;
        for (const auto& entry : std::filesystem::directory_iterator("/dev/input")) {
            if (entry.path().filename().string().starts_with("event")) {
                all.insert(entry.path());
            }
        }
        return all;
    }
    std::string report_file() const { return directory_ + "/report"; }

    std::string directory_;
    std::string name_;
    std::vector<std::string> pads_;
    std::optional<Process> process_;
    std::ifstream report_;
    std::vector<nlohmann::json> events_;
};

/** An agent that steps a session through a pipeline in a process of its own. */
class Agent {
public:
    explicit Agent(const PadSession& session)
        : pipeline_({"gst-launch-1.0", "-q", "wlscreencopysrc", "mode=lockstep", "timeout=60000",
                     "session=" + session.name(), "!", "video/x-raw,framerate=60/1", "!",
                     "fencesink", "wait=steps", "socket-path=" + session.socket()}) {
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
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    ~Agent() { stepscope_agent_destroy(agent_); }

    stepscope_agent* get() { return agent_; }
    void kill_pipeline() { pipeline_.end(SIGKILL); }

    /** Takes a step. Returns the number of the last input in its picture. */
    uint32_t step() {
        uint64_t sequence = 0;
        REQUIRE(stepscope_agent_step(agent_, &sequence) == 0);
        return take_frame(sequence);
    }

    const std::vector<std::string>& refusals() const { return refusals_; }
    /** Of the newest picture, a number that is another one for others. */
    size_t picture() const { return picture_; }

private:
    uint32_t take_frame(uint64_t sequence) {
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
                    const auto* row = reinterpret_cast<const uint32_t*>(bytes + y * plane.stride);
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

    Process pipeline_;
    stepscope_agent* agent_ = nullptr;
    std::map<uint32_t, stepscope_agent_slot> slots_;
    std::vector<std::string> refusals_;
    size_t picture_ = 0;
};

struct Change {
    unsigned pad;
    std::string code;
    int value;
    bool operator==(const Change&) const = default;
};

std::ostream& operator<<(std::ostream& stream, const Change& change) {
    return stream << change.pad << ' ' << change.code << ' ' << change.value;
}

/** Presses and moves at random, such that each call changes something. */
class Player {
public:
    Change act(stepscope_agent* agent) {
        const auto pad = static_cast<unsigned>(random_() % 2);
        if (random_() % 2 == 0) {
            const auto& [name, code] = kButtons[random_() % kButtons.size()];
            bool& down = down_[{pad, name}];
            down = !down;
            REQUIRE(stepscope_agent_gamepad_button(agent, pad, name, down ? 1 : 0) == 0);
            if (code == nullptr) {
                return directions(pad, name);
            }
            return {pad, code, down ? 1 : 0};
        }
        const auto& [name, code, lowest, scale] = kAxes[random_() % kAxes.size()];
        int& place = places_[{pad, name}];
        for (const int before = place; place == before;) {
            place =
                static_cast<int>(random_() % static_cast<unsigned>(scale - lowest + 1)) + lowest;
        }
        REQUIRE(stepscope_agent_gamepad_axis(agent, pad, name, double(place) / scale) == 0);
        return {pad, code, place};
    }

private:
    Change directions(unsigned pad, const std::string& name) {
        const bool vertical = name == "dpup";
        return {pad, vertical ? "ABS_HAT0Y" : "ABS_HAT0X", down_[{pad, name}] ? -1 : 0};
    }

    struct Button {
        const char* name;
        const char* code;
    };
    struct Axis {
        const char* name;
        const char* code;
        int lowest;
        int scale;
    };
    static constexpr std::array<Button, 13> kButtons{{{"a", "BTN_SOUTH"},
                                                      {"b", "BTN_EAST"},
                                                      {"x", "BTN_NORTH"},
                                                      {"y", "BTN_WEST"},
                                                      {"back", "BTN_SELECT"},
                                                      {"guide", "BTN_MODE"},
                                                      {"start", "BTN_START"},
                                                      {"leftstick", "BTN_THUMBL"},
                                                      {"rightstick", "BTN_THUMBR"},
                                                      {"leftshoulder", "BTN_TL"},
                                                      {"rightshoulder", "BTN_TR"},
                                                      {"dpup", nullptr},
                                                      {"dpleft", nullptr}}};
    static constexpr std::array<Axis, 6> kAxes{{{"leftx", "ABS_X", -32767, 32767},
                                                {"lefty", "ABS_Y", -32767, 32767},
                                                {"rightx", "ABS_RX", -32767, 32767},
                                                {"righty", "ABS_RY", -32767, 32767},
                                                {"lefttrigger", "ABS_Z", 0, 255},
                                                {"righttrigger", "ABS_RZ", 0, 255}}};
    std::mt19937 random_{4711};
    std::map<std::pair<unsigned, std::string>, bool> down_;
    std::map<std::pair<unsigned, std::string>, int> places_;
};

/** What a device is at now, for who has read none of its events. */
class Pad {
public:
    explicit Pad(const std::string& node) : fd_(::open(node.c_str(), O_RDONLY | O_CLOEXEC)) {
        REQUIRE(fd_);
        libevdev* device = nullptr;
        REQUIRE(libevdev_new_from_fd(fd_.get(), &device) == 0);
        device_.reset(device);
    }
    libevdev* get() const { return device_.get(); }
    int value(unsigned type, unsigned code) const {
        return libevdev_get_event_value(device_.get(), type, code);
    }

private:
    struct Closer {
        void operator()(libevdev* device) const { libevdev_free(device); }
    };
    UniqueFd fd_;
    std::unique_ptr<libevdev, Closer> device_;
};

}  // namespace

TEST_CASE("a game sees in each step what was pressed before it, and that alone") {
    PadSession session({"--lockstep", "--gamepads", "2"},
                       {environment("STEPSCOPE_TESTGAME"), "--backend", "wayland", "--fullscreen",
                        "--vsync", "--report", "REPORT"});
    REQUIRE(session.pads().size() == 2);
    Agent agent(session);
    Player player;
    std::vector<Change> expected;
    std::mt19937 random{42};
    const int steps = step_count();
    for (int step = 0; step < steps; ++step) {
        std::vector<Change> changes;
        for (auto count = random() % 5; count > 0; --count) {
            changes.push_back(player.act(agent.get()));
        }
        // The game reads one pad after the other.
        std::ranges::stable_sort(changes, {}, &Change::pad);
        expected.insert(expected.end(), changes.begin(), changes.end());
        // All of it shows in this picture, and nothing that is yet to come.
        const uint32_t seen = agent.step();
        INFO("step " << step);
        REQUIRE(session.events_until(seen) == expected.size());
        REQUIRE(session.events().size() == expected.size());
    }
    const std::vector<nlohmann::json>& events = session.events();
    for (size_t i = 0; i < events.size(); ++i) {
        const nlohmann::json& event = events[i];
        CHECK(Change{event.at("pad"), event.at("code"), event.at("value")} == expected[i]);
        // Of the game's time, and of the step that it came with, on either clock.
        CHECK(event.at("age_ns").get<int64_t>() >= 0);
        CHECK(event.at("age_ns").get<int64_t>() < kStepNs);
    }
    CHECK(agent.refusals().empty());

    // What the session does not have is refused, and nothing else happens.
    REQUIRE(stepscope_agent_gamepad_button(agent.get(), 2, "a", 1) == 0);
    REQUIRE(stepscope_agent_gamepad_button(agent.get(), 0, "jump", 1) == 0);
    REQUIRE(stepscope_agent_gamepad_axis(agent.get(), 0, "leftx", 1.5) == 0);
    agent.step();
    agent.step();
    CHECK(session.events().size() == expected.size());
    CHECK(agent.refusals().size() == 3);

    session.end(SIGTERM);
    CHECK(session.pads_are_gone());
}

TEST_CASE("Doom, which knows nothing of us, goes where its stick points") {
    constexpr int kInTheLevel = 150;  // its melting screen is gone
    constexpr int kSoon = 30;         // steps; the game's own ticks are longer
    std::string game;
    std::string data;
    for (const char* path : {"/usr/games/chocolate-doom", "/usr/bin/chocolate-doom"}) {
        game = std::filesystem::exists(path) ? path : game;
    }
    for (const char* path :
         {"/usr/share/games/doom/freedoom1.wad", "/usr/share/doom/freedoom1.wad"}) {
        data = std::filesystem::exists(path) ? path : data;
    }
    if (game.empty() || data.empty()) {
        SKIP("chocolate-doom or freedoom is not installed");
    }
    // SDL's name for a pad: bus, checksum of its name, vendor, product, version.
    const std::string configuration =
        "use_joystick 1\njoystick_guid \"030081b85e0400008e02000010010000\"\n"
        "joystick_index 0\njoystick_x_axis 0\njoystick_y_axis 1\n";
    // The same game twice: it is the stick alone that makes the difference.
    std::vector<size_t> pictures;
    int first_difference = -1;
    for (const bool moves : {false, true}) {
        std::string folder = "/tmp/stepscope-doom-XXXXXX";
        REQUIRE(::mkdtemp(folder.data()) != nullptr);
        for (const char* name : {"/main", "/extra"}) {
            std::ofstream(folder + name) << configuration;
        }
        PadSession session({"--lockstep", "--seed", "1", "--gamepads", "1"},
                           {"env", "HOME=" + folder, "SDL_AUDIODRIVER=dummy", game, "-iwad", data,
                            "-config", folder + "/main", "-extraconfig", folder + "/extra",
                            "-nomouse", "-nosound", "-warp", "1", "1", "-skill", "1"});
        Agent agent(session);
        for (int step = 0; step < kInTheLevel + kSoon && first_difference < 0; ++step) {
            if (step == 0) {
                // SDL listens to pads while it has the focus of a keyboard: there has to be one.
                REQUIRE(stepscope_agent_key(agent.get(), "Shift_L", 1) == 0);
                REQUIRE(stepscope_agent_key(agent.get(), "Shift_L", 0) == 0);
            }
            if (moves && step == kInTheLevel) {
                REQUIRE(stepscope_agent_gamepad_axis(agent.get(), 0, "lefty", -1) == 0);
            }
            agent.step();
            if (!moves) {
                pictures.push_back(agent.picture());
            } else if (pictures.at(static_cast<size_t>(step)) != agent.picture()) {
                first_difference = step;
            }
        }
        CHECK(agent.refusals().empty());
        std::filesystem::remove_all(folder);
    }
    CHECK(std::set(pictures.begin(), pictures.end()).size() > 50);
    CHECK(first_difference >= kInTheLevel);
}

TEST_CASE("a gamepad is let go when who held it is killed, and gone with its session") {
    PadSession session({"--lockstep", "--gamepads", "1"},
                       {environment("STEPSCOPE_TESTGAME"), "--backend", "wayland", "--fullscreen",
                        "--vsync", "--report", "REPORT"});
    REQUIRE(session.pads().size() == 1);
    const std::string& node = session.pads().front();
    {
        const Pad pad(node);
        CHECK(libevdev_get_id_bustype(pad.get()) == BUS_USB);
        CHECK(libevdev_get_id_vendor(pad.get()) == 0x045e);
        CHECK(libevdev_get_id_product(pad.get()) == 0x028e);
        CHECK(libevdev_has_event_code(pad.get(), EV_KEY, BTN_SOUTH) == 1);
        CHECK(libevdev_has_event_code(pad.get(), EV_KEY, KEY_A) == 0);
        CHECK(libevdev_get_abs_minimum(pad.get(), ABS_X) == -32768);
        CHECK(libevdev_get_abs_maximum(pad.get(), ABS_RZ) == 255);
        CHECK(libevdev_get_abs_fuzz(pad.get(), ABS_X) == 0);
    }
    Agent agent(session);
    REQUIRE(stepscope_agent_gamepad_button(agent.get(), 0, "start", 1) == 0);
    REQUIRE(stepscope_agent_gamepad_button(agent.get(), 0, "dpdown", 1) == 0);
    REQUIRE(stepscope_agent_gamepad_axis(agent.get(), 0, "rightx", -1) == 0);
    REQUIRE(stepscope_agent_gamepad_axis(agent.get(), 0, "lefttrigger", 1) == 0);
    agent.step();
    {
        const Pad pad(node);
        CHECK(pad.value(EV_KEY, BTN_START) == 1);
        CHECK(pad.value(EV_ABS, ABS_HAT0Y) == 1);
        CHECK(pad.value(EV_ABS, ABS_RX) == -32767);
        CHECK(pad.value(EV_ABS, ABS_Z) == 255);
    }
    agent.kill_pipeline();
    CHECK(wait_until([&] { return Pad(node).value(EV_KEY, BTN_START) == 0; }));
    const Pad pad(node);
    CHECK(pad.value(EV_ABS, ABS_HAT0Y) == 0);
    CHECK(pad.value(EV_ABS, ABS_RX) == 0);
    CHECK(pad.value(EV_ABS, ABS_Z) == 0);

    session.end(SIGKILL);
    CHECK(wait_until([&] { return session.pads_are_gone(); }));
}
