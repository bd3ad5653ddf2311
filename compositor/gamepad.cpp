// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gamepad.hpp"

#include <fcntl.h>
#include <libevdev/libevdev-uinput.h>
#include <libevdev/libevdev.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <format>

#include "log.hpp"
#include "stepscope-control-v1-server-protocol.h"

namespace stepscope {
namespace {

constexpr const char* kUinput = "/dev/uinput";

// Those of the wired Xbox 360 controller and of the kernel's driver for it: SDL and engines know
// where its buttons are.
constexpr const char* kName = "Microsoft X-Box 360 pad";
constexpr int kVendor = 0x045e;
constexpr int kProduct = 0x028e;
constexpr int kVersion = 0x0110;

constexpr int kReadyMs = 1000;
constexpr int kLookMs = 5;

struct DescriptionCloser {
    void operator()(libevdev* device) const { libevdev_free(device); }
};
using Description = std::unique_ptr<libevdev, DescriptionCloser>;

Result<UniqueFd> open_uinput() {
    UniqueFd fd(::open(kUinput, O_RDWR | O_CLOEXEC));
    if (fd) {
        return fd;
    }
    const int code = errno;
    if (code == ENOENT || code == ENODEV) {
        return fail(Fault::not_found, std::format("--gamepads needs {}, which is not there; load "
                                                  "the kernel's module with: modprobe uinput",
                                                  kUinput));
    }
    if (code == EACCES || code == EPERM) {
        return fail(Fault::system,
                    std::format("--gamepads needs {}, which user {} may not open; allow it with "
                                "the udev rule: KERNEL==\"uinput\", TAG+=\"uaccess\"",
                                kUinput, ::geteuid()));
    }
    return fail(Fault::system,
                std::format("--gamepads can't open {}: {}", kUinput, std::strerror(code)));
}

Description describe() {
    Description device(libevdev_new());
    if (!device) {
        return nullptr;
    }
    libevdev_set_name(device.get(), kName);
    libevdev_set_id_bustype(device.get(), BUS_USB);
    libevdev_set_id_vendor(device.get(), kVendor);
    libevdev_set_id_product(device.get(), kProduct);
    libevdev_set_id_version(device.get(), kVersion);
    GamepadLayout layout;
    for (uint32_t button = 0; auto event = layout.press(button, false); ++button) {
        if (event->type == EV_KEY) {
            libevdev_enable_event_code(device.get(), EV_KEY, event->code, nullptr);
        }
    }
    // No fuzz: the kernel would keep small movements back. No flat: the game has a dead zone.
    auto add_axis = [&](unsigned code, int minimum, int maximum) {
        const input_absinfo range{.value = 0,
                                  .minimum = minimum,
                                  .maximum = maximum,
                                  .fuzz = 0,
                                  .flat = 0,
                                  .resolution = 0};
        libevdev_enable_event_code(device.get(), EV_ABS, code, &range);
    };
    for (unsigned stick : {ABS_X, ABS_Y, ABS_RX, ABS_RY}) {
        add_axis(stick, kStickMin, kStickMax);
    }
    for (unsigned trigger : {ABS_Z, ABS_RZ}) {
        add_axis(trigger, 0, kTriggerMax);
    }
    for (unsigned hat : {ABS_HAT0X, ABS_HAT0Y}) {
        add_axis(hat, -1, 1);
    }
    return device;
}

/** udev makes the device usable after the kernel made it; a game looks once, at its start. */
bool usable(const std::string& node) {
    namespace fs = std::filesystem;
    struct stat status{};
    if (::access(node.c_str(), R_OK) < 0 || ::stat(node.c_str(), &status) < 0) {
        return false;
    }
    std::error_code error;
    return !fs::exists("/run/udev/control", error) ||
           fs::exists(
               std::format("/run/udev/data/c{}:{}", major(status.st_rdev), minor(status.st_rdev)),
               error);
}

}  // namespace

void Gamepad::Closer::operator()(libevdev_uinput* device) const {
    libevdev_uinput_destroy(device);
}

Gamepad::~Gamepad() = default;

Result<std::unique_ptr<Gamepad>> Gamepad::create() {
    auto uinput = open_uinput();
    if (!uinput) {
        return std::unexpected(uinput.error());
    }
    const Description description = describe();
    libevdev_uinput* device = nullptr;
    const int result =
        description ? libevdev_uinput_create_from_device(description.get(), uinput->get(), &device)
                    : -ENOMEM;
    if (result < 0) {
        return fail(Fault::system,
                    std::format("{} can't make a gamepad: {}", kUinput, std::strerror(-result)));
    }
    std::unique_ptr<Gamepad> pad(new Gamepad());
    pad->uinput_ = std::move(*uinput);
    pad->device_.reset(device);
    const char* node = libevdev_uinput_get_devnode(device);
    if (node == nullptr) {
        return fail(Fault::system, std::format("a gamepad was made, but /sys does not say which "
                                               "file of /dev/input it is; mount /sys"));
    }
    pad->node_ = node;
    for (int waited = 0; !usable(pad->node_) && waited < kReadyMs; waited += kLookMs) {
        ::usleep(kLookMs * 1000);
    }
    if (::access(node, R_OK) < 0) {
        log("the gamepad {} can't be read by user {} ({}), so the game won't see it; be in the "
            "group that the file belongs to",
            node, ::geteuid(), std::strerror(errno));
    }
    return pad;
}

bool Gamepad::add(const std::optional<EvdevEvent>& event) {
    if (event) {
        changes_.push_back(*event);
    }
    return event.has_value();
}

bool Gamepad::press(uint32_t button, bool down) {
    return add(layout_.press(button, down));
}

bool Gamepad::move(uint32_t axis, int32_t value) {
    return add(GamepadLayout::move(axis, value));
}

void Gamepad::report() {
    if (changes_.empty()) {
        return;
    }
    changes_.push_back({EV_SYN, SYN_REPORT, 0});
    for (const EvdevEvent& event : changes_) {
        const int result =
            libevdev_uinput_write_event(device_.get(), event.type, event.code, event.value);
        if (result < 0 && !std::exchange(failed_, true)) {
            log("the gamepad {} takes no input: {}", node_, std::strerror(-result));
        }
    }
    changes_.clear();
}

}  // namespace stepscope
