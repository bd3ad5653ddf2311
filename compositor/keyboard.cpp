// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keyboard.hpp"

namespace stepscope {
namespace {

const wlr_keyboard_impl kDefaultImpl{.name = "stepscope-keyboard", .led_update = nullptr};

}  // namespace

class Keyboards::Device {
public:
    Device(Keyboards& owner, wlr_keyboard* keyboard) : owner_(owner), keyboard_(keyboard) {
        key_.connect(keyboard_->events.key, [this](void* data) {
            auto* event = static_cast<wlr_keyboard_key_event*>(data);
            wlr_seat_set_keyboard(owner_.seat_, keyboard_);
            wlr_seat_keyboard_notify_key(owner_.seat_, owner_.clock_.input_ms(event->time_msec),
                                         event->keycode, event->state);
        });
        modifiers_.connect(keyboard_->events.modifiers, [this](void*) {
            wlr_seat_set_keyboard(owner_.seat_, keyboard_);
            wlr_seat_keyboard_notify_modifiers(owner_.seat_, &keyboard_->modifiers);
        });
        destroy_.connect(keyboard_->base.events.destroy, [this](void*) {
            Keyboards& keyboards = owner_;  // outlives this
            keyboards.devices_.remove_if([this](const auto& other) { return other.get() == this; });
            wlr_seat_set_keyboard(keyboards.seat_, &keyboards.default_);
        });
    }

private:
    Keyboards& owner_;
    wlr_keyboard* keyboard_;
    Listener key_, modifiers_, destroy_;
};

Keyboards::Keyboards(wlr_seat* seat, const SessionClock& clock) : seat_(seat), clock_(clock) {
    wlr_keyboard_init(&default_, &kDefaultImpl, kDefaultImpl.name);
    Handle<xkb_context, xkb_context_unref> context(xkb_context_new(XKB_CONTEXT_NO_FLAGS));
    Handle<xkb_keymap, xkb_keymap_unref> keymap(
        xkb_keymap_new_from_names(context.get(), nullptr, XKB_KEYMAP_COMPILE_NO_FLAGS));
    wlr_keyboard_set_keymap(&default_, keymap.get());
    wlr_keyboard_set_repeat_info(&default_, 25, 600);
    wlr_seat_set_keyboard(seat_, &default_);
}

Keyboards::~Keyboards() {
    devices_.clear();
    wlr_keyboard_finish(&default_);
}

void Keyboards::add_virtual(wlr_virtual_keyboard_v1* keyboard) {
    devices_.push_back(std::make_unique<Device>(*this, &keyboard->keyboard));
}

void Keyboards::focus(wlr_surface* surface) {
    if (surface == nullptr) {
        wlr_seat_keyboard_notify_clear_focus(seat_);
        return;
    }
    const wlr_keyboard* keyboard = wlr_seat_get_keyboard(seat_);
    wlr_seat_keyboard_notify_enter(seat_, surface, keyboard->keycodes, keyboard->num_keycodes,
                                   &keyboard->modifiers);
}

}  // namespace stepscope
