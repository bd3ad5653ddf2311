// SPDX-License-Identifier: LGPL-2.1-or-later
// Gamepads, from an agent at the frame socket through the compositor and the kernel to a game.
#include <fcntl.h>
#include <libevdev/libevdev.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "base/unique_fd.hpp"
#include "pad_session.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

constexpr int64_t kStepNs = 16'666'667;

/** 300 are the record's. */
int step_count() {
    const char* count = std::getenv("STEPSCOPE_TEST_STEPS");
    return count != nullptr ? std::atoi(count) : 100;
}

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
                       {program("STEPSCOPE_TESTGAME"), "--backend", "wayland", "--fullscreen",
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
                       {program("STEPSCOPE_TESTGAME"), "--backend", "wayland", "--fullscreen",
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
