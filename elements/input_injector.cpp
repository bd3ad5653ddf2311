// SPDX-License-Identifier: LGPL-2.1-or-later
#include "input_injector.hpp"

#include <linux/input-event-codes.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <format>

#include "virtual-keyboard-unstable-v1-client-protocol.h"
#include "wlr-virtual-pointer-unstable-v1-client-protocol.h"

namespace stepscope {
namespace {

/** Steps per pixel of absolute motion: the protocol counts in whole numbers. */
constexpr uint32_t kSubpixels = 256;

/** What a click of a wheel is in wl_pointer.axis, by custom. */
constexpr double kAxisPerClick = 15;

/** More pixels than that at a time do not fit into the protocol's numbers. */
constexpr double kMaxRelative = 1'000'000;

constexpr int kFirstButton = 1;
constexpr int kLastButton = 9;

uint32_t now_ms() {
    return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

uint32_t scaled(double position, uint32_t side) {
    if (!(position > 0)) {
        return 0;
    }
    return static_cast<uint32_t>(
        std::min(position * kSubpixels, static_cast<double>(side) * kSubpixels));
}

}  // namespace

InputInjector::InputInjector(std::shared_ptr<ControlClient> control)
    : control_(std::move(control)), gamepads_(control_) {}

Result<std::unique_ptr<InputInjector>> InputInjector::create(
    std::shared_ptr<ControlClient> control) {
    if (control->seat() == nullptr || control->keyboard_manager() == nullptr ||
        control->pointer_manager() == nullptr) {
        return fail(Fault::unsupported,
                    std::format("session '{}' takes no input: it offers no virtual keyboard and "
                                "pointer",
                                control->name()));
    }
    auto keys = KeyMap::create();
    if (!keys) {
        return std::unexpected(keys.error());
    }
    std::unique_ptr<InputInjector> injector(new InputInjector(std::move(control)));
    injector->keys_ = std::move(*keys);
    return injector;
}

Result<void> InputInjector::open() {
    if (pointer_ != nullptr) {
        return {};
    }
    keyboard_ = zwp_virtual_keyboard_manager_v1_create_virtual_keyboard(
        control_->keyboard_manager(), control_->seat());
    if (auto sent = send_keymap(); !sent) {
        return sent;
    }
    pointer_ = zwlr_virtual_pointer_manager_v1_create_virtual_pointer(control_->pointer_manager(),
                                                                      control_->seat());
    return {};
}

InputInjector::~InputInjector() {
    if (keyboard_ != nullptr) {
        while (auto stroke = keys_->release_any()) {
            send_key(*stroke, false);
        }
        zwp_virtual_keyboard_v1_destroy(keyboard_);
    }
    if (pointer_ != nullptr) {
        for (uint32_t button : buttons_) {
            zwlr_virtual_pointer_v1_button(pointer_, now_ms(), button,
                                           WL_POINTER_BUTTON_STATE_RELEASED);
            zwlr_virtual_pointer_v1_frame(pointer_);
        }
        zwlr_virtual_pointer_v1_destroy(pointer_);
    }
    control_->flush();
}

Result<void> InputInjector::send_keymap() {
    const std::string& text = keys_->text();
    const size_t size = text.size() + 1;  // with its NUL
    UniqueFd fd(::memfd_create("stepscope-keymap", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) {
        return fail_errno("can't create memory for the keymap");
    }
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0 ||
        ::pwrite(fd.get(), text.c_str(), size, 0) != static_cast<ssize_t>(size)) {
        return fail_errno("can't write the keymap");
    }
    zwp_virtual_keyboard_v1_keymap(keyboard_, WL_KEYBOARD_KEYMAP_FORMAT_XKB_V1, fd.get(),
                                   static_cast<uint32_t>(size));
    return {};
}

Result<void> InputInjector::check(const InputAction& action) const {
    if (const auto* key = std::get_if<KeyAction>(&action)) {
        return keys_->check(key->keysym);
    }
    if (const auto* pressed = std::get_if<GamepadButtonAction>(&action)) {
        return gamepads_.check(*pressed);
    }
    if (const auto* moved = std::get_if<GamepadAxisAction>(&action)) {
        return gamepads_.check(*moved);
    }
    if (const auto* button = std::get_if<ButtonAction>(&action);
        button != nullptr && (button->number < kFirstButton || button->number > kLastButton)) {
        return fail(Fault::usage, std::format("there is no button {}; expected {} to {}",
                                              button->number, kFirstButton, kLastButton));
    }
    return {};
}

Result<void> InputInjector::apply(const InputAction& action, uint32_t width, uint32_t height) {
    if (const auto* pressed = std::get_if<GamepadButtonAction>(&action)) {
        gamepads_.apply(*pressed);
        return {};
    }
    if (const auto* moved = std::get_if<GamepadAxisAction>(&action)) {
        gamepads_.apply(*moved);
        return {};
    }
    if (auto opened = open(); !opened) {
        return opened;
    }
    if (const auto* stroke = std::get_if<KeyAction>(&action)) {
        return key(stroke->keysym, stroke->pressed);
    }
    if (const auto* position = std::get_if<MoveAction>(&action)) {
        move(position->x, position->y, width, height);
    } else if (const auto* motion = std::get_if<RelativeMoveAction>(&action)) {
        move_by(motion->dx, motion->dy);
    } else if (const auto* click = std::get_if<ButtonAction>(&action)) {
        return button(click->number, click->pressed);
    } else if (const auto* wheel = std::get_if<ScrollAction>(&action)) {
        scroll(wheel->right, wheel->up);
    }
    return {};
}

Result<void> InputInjector::key(std::string_view keysym, bool down) {
    auto stroke = down ? keys_->press(keysym) : keys_->release(keysym);
    if (!stroke) {
        return std::unexpected(stroke.error());
    }
    if (*stroke) {
        send_key(**stroke, down);
    }
    return {};
}

void InputInjector::send_key(const KeyStroke& stroke, bool down) {
    send_modifiers(stroke.before);
    zwp_virtual_keyboard_v1_key(
        keyboard_, now_ms(), stroke.key,
        down ? WL_KEYBOARD_KEY_STATE_PRESSED : WL_KEYBOARD_KEY_STATE_RELEASED);
    send_modifiers(stroke.after);
}

void InputInjector::send_modifiers(const KeyModifiers& modifiers) {
    if (modifiers == modifiers_) {
        return;
    }
    modifiers_ = modifiers;
    zwp_virtual_keyboard_v1_modifiers(keyboard_, modifiers.depressed, modifiers.latched,
                                      modifiers.locked, modifiers.group);
}

void InputInjector::move(double x, double y, uint32_t width, uint32_t height) {
    zwlr_virtual_pointer_v1_motion_absolute(pointer_, now_ms(), scaled(x, width), scaled(y, height),
                                            width * kSubpixels, height * kSubpixels);
    zwlr_virtual_pointer_v1_frame(pointer_);
}

void InputInjector::move_by(double dx, double dy) {
    auto fixed = [](double pixels) {
        return wl_fixed_from_double(std::clamp(pixels, -kMaxRelative, kMaxRelative));
    };
    zwlr_virtual_pointer_v1_motion(pointer_, now_ms(), fixed(dx), fixed(dy));
    zwlr_virtual_pointer_v1_frame(pointer_);
}

Result<void> InputInjector::button(int number, bool down) {
    uint32_t code = 0;
    switch (number) {
        case 1:
            code = BTN_LEFT;
            break;
        case 2:
            code = BTN_MIDDLE;
            break;
        case 3:
            code = BTN_RIGHT;
            break;
        case 4:
        case 5:
        case 6:
        case 7:
            // X knows no wheel: each click is a button that goes down and up.
            if (down) {
                scroll(number == 7 ? 1 : (number == 6 ? -1 : 0),
                       number == 4 ? 1 : (number == 5 ? -1 : 0));
            }
            return {};
        case 8:
            code = BTN_SIDE;
            break;
        case 9:
            code = BTN_EXTRA;
            break;
        default:
            return check(ButtonAction{number, down});
    }
    if (down ? !buttons_.insert(code).second : buttons_.erase(code) == 0) {
        return {};
    }
    zwlr_virtual_pointer_v1_button(
        pointer_, now_ms(), code,
        down ? WL_POINTER_BUTTON_STATE_PRESSED : WL_POINTER_BUTTON_STATE_RELEASED);
    zwlr_virtual_pointer_v1_frame(pointer_);
    return {};
}

void InputInjector::scroll(double right, double up) {
    if (!std::isfinite(right) || !std::isfinite(up) || (right == 0 && up == 0)) {
        return;
    }
    // Wayland counts down and right as positive.
    send_axis(WL_POINTER_AXIS_VERTICAL_SCROLL, -up);
    send_axis(WL_POINTER_AXIS_HORIZONTAL_SCROLL, right);
    zwlr_virtual_pointer_v1_frame(pointer_);
}

void InputInjector::send_axis(uint32_t axis, double clicks) {
    if (clicks == 0) {
        return;
    }
    clicks = std::clamp(clicks, -1000.0, 1000.0);
    zwlr_virtual_pointer_v1_axis_source(pointer_, WL_POINTER_AXIS_SOURCE_WHEEL);
    const wl_fixed_t value = wl_fixed_from_double(clicks * kAxisPerClick);
    if (clicks == std::round(clicks)) {
        zwlr_virtual_pointer_v1_axis_discrete(pointer_, now_ms(), axis, value,
                                              static_cast<int32_t>(clicks));
    } else {
        zwlr_virtual_pointer_v1_axis(pointer_, now_ms(), axis, value);
    }
}

}  // namespace stepscope
