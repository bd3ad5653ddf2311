// SPDX-License-Identifier: LGPL-2.1-or-later
#include "game_input.hpp"

#include <utility>

namespace stepscope {

GameInput::GameInput(std::shared_ptr<ControlClient> control, bool in_steps)
    : control_(std::move(control)), in_steps_(in_steps) {}

Result<void> GameInput::take(InputActions actions, uint32_t width, uint32_t height) {
    std::lock_guard lock(mutex_);
    if (!injector_) {
        auto created = InputInjector::create(control_);
        if (!created) {
            return std::unexpected(created.error());
        }
        injector_ = std::move(*created);
    }
    for (const InputAction& action : actions) {
        if (auto possible = injector_->check(action); !possible) {
            return possible;
        }
    }
    Kept event{std::move(actions), width, height};
    if (in_steps_) {
        kept_.push_back(std::move(event));
        return {};
    }
    auto sent = send(event);
    control_->flush();
    return sent;
}

Result<void> GameInput::send(const Kept& event) {
    ++sent_;
    for (const InputAction& action : event.actions) {
        if (auto done = injector_->apply(action, event.width, event.height); !done) {
            return done;
        }
    }
    return {};
}

uint64_t GameInput::send_kept() {
    std::lock_guard lock(mutex_);
    for (const Kept& event : kept_) {
        // All that can be wrong with it was found when it was taken.
        static_cast<void>(send(event));
    }
    kept_.clear();
    return sent_;
}

bool GameInput::end() {
    std::lock_guard lock(mutex_);
    const bool used = injector_ != nullptr;
    injector_.reset();
    return used;
}

}  // namespace stepscope
