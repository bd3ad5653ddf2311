// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <mutex>

#include "input_action.hpp"
#include "input_injector.hpp"

namespace stepscope {

/**
 * Input on its way to the game: at once, or kept until a step is about to begin, so that none
 * arrives in the middle of one. Any thread.
 */
class GameInput {
public:
    GameInput(std::shared_ptr<ControlClient> control, bool in_steps);

    /**
     * Takes one input event for a picture of the given size. An error where the session can't do
     * what it asks for.
     */
    Result<void> take(InputActions actions, uint32_t width, uint32_t height);

    /** Queues what was kept on the connection. Returns the number of events sent so far. */
    uint64_t send_kept();

    /** Lets keys and buttons go; true if there was any input at all. */
    bool end();

private:
    struct Kept {
        InputActions actions;
        uint32_t width;
        uint32_t height;
    };

    Result<void> send(const Kept& event);

    const std::shared_ptr<ControlClient> control_;
    const bool in_steps_;
    std::mutex mutex_;                         // guards the rest
    std::unique_ptr<InputInjector> injector_;  // made when first used
    std::vector<Kept> kept_;
    uint64_t sent_ = 0;
};

}  // namespace stepscope
