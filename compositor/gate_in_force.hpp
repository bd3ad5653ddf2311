// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

namespace stepscope {

/** What keeps a game from running ahead of its pictures; the protocol's values. */
enum class Gate : uint32_t { none = 0, callbacks = 1, present = 2 };

/** Tells by the pictures that come which gate a session's game is held by, and logs each once. */
class GateInForce {
public:
    Gate gate() const { return gate_; }
    /**
     * A step showed a new picture, after so many presents that were held. `apis`: of all presents
     * so far, a set of clock::kPresent….
     */
    void note_picture(uint64_t presents, uint32_t apis);

private:
    Gate gate_ = Gate::none;
    uint32_t ungated_pictures_ = 0;  // in a row
    bool logged_[3] = {};            // by gate
};

}  // namespace stepscope
