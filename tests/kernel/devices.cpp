// SPDX-License-Identifier: LGPL-2.1-or-later
// Which devices the VM has: render nodes, and input devices made with uinput.
#include <fcntl.h>
#include <linux/input.h>
#include <linux/uinput.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "base/restarting_ioctl.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {
void check_render_node(const std::string& driver) {
    auto nodes = render_nodes();
    auto found = std::ranges::find(nodes, driver, &RenderNode::driver);
    if (found == nodes.end()) {
        missing("there is no render node of " + driver);
    }
    INFO(found->path);
    CHECK(open_render_node(driver).has_value());
}

/** A keyboard with one key, for as long as it lives. */
struct Keyboard {
    UniqueFd fd{::open("/dev/uinput", O_RDWR | O_CLOEXEC)};

    Keyboard() {
        if (!fd) {
            missing(fail_errno("can't open /dev/uinput").error().message);
        }
        uinput_setup setup{};
        setup.id.bustype = BUS_VIRTUAL;
        std::strncpy(setup.name, "kernel-probe keyboard", sizeof(setup.name) - 1);
        REQUIRE(::ioctl(fd.get(), UI_SET_EVBIT, EV_KEY) == 0);
        REQUIRE(::ioctl(fd.get(), UI_SET_KEYBIT, KEY_A) == 0);
        REQUIRE(::ioctl(fd.get(), UI_DEV_SETUP, &setup) == 0);
        REQUIRE(::ioctl(fd.get(), UI_DEV_CREATE) == 0);
    }

    /** The device node that appeared for it; empty if none did. */
    std::filesystem::path event_node() const {
        std::array<char, 64> name{};
        REQUIRE(::ioctl(fd.get(), UI_GET_SYSNAME(name.size() - 1), name.data()) >= 0);
        std::filesystem::path directory = std::filesystem::path("/sys/devices/virtual/input");
        for (const auto& entry : std::filesystem::directory_iterator(directory / name.data())) {
            if (entry.path().filename().string().starts_with("event")) {
                return "/dev/input" / entry.path().filename();
            }
        }
        return {};
    }

    void press() const {
        std::array<input_event, 2> events{};
        events[0].type = EV_KEY;
        events[0].code = KEY_A;
        events[0].value = 1;
        events[1].type = EV_SYN;
        events[1].code = SYN_REPORT;
        REQUIRE(::write(fd.get(), events.data(), sizeof(events)) == sizeof(events));
    }
};
}  // namespace

TEST_CASE("there is a render node of vgem") {
    check_render_node("vgem");
}

TEST_CASE("there is a render node of virtio-gpu") {
    check_render_node("virtio_gpu");
}

TEST_CASE("a uinput device shows up in /dev/input and passes keys on") {
    Keyboard keyboard;
    const std::filesystem::path node = keyboard.event_node();
    REQUIRE_FALSE(node.empty());
    UniqueFd reader(::open(node.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    INFO(node);
    REQUIRE(reader);
    keyboard.press();
    pollfd poll{.fd = reader.get(), .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&poll, 1, 60'000) == 1);
    input_event event{};
    REQUIRE(::read(reader.get(), &event, sizeof(event)) == sizeof(event));
    CHECK(event.type == EV_KEY);
    CHECK(event.code == KEY_A);
    CHECK(event.value == 1);
}
