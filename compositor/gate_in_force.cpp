// SPDX-License-Identifier: LGPL-2.1-or-later
#include "gate_in_force.hpp"

#include <string>
#include <utility>

#include "base/clock_page.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

/** Pictures in a row without a present until the present gate does not count as in force. */
constexpr uint32_t kUngatedPictures = 10;

std::string names_of(uint32_t apis) {
    std::string names;
    for (const auto& [bit, name] : {std::pair{clock::kPresentEgl, "EGL"},
                                    {clock::kPresentGlx, "GLX"},
                                    {clock::kPresentVulkan, "Vulkan"},
                                    {clock::kPresentOther, "other"}}) {
        if ((apis & bit) != 0) {
            names += (names.empty() ? "" : ", ") + std::string(name);
        }
    }
    return names;
}

}  // namespace

// A splash screen may come another way than the game after it, and a picture without a present may
// be a menu's or the cursor's.
void GateInForce::note_picture(uint64_t presents, uint32_t apis) {
    ungated_pictures_ = presents != 0 ? 0 : ungated_pictures_ + 1;
    if (presents != 0) {
        gate_ = Gate::present;
    } else if (gate_ == Gate::none || ungated_pictures_ >= kUngatedPictures) {
        gate_ = Gate::callbacks;
    }
    if (!std::exchange(logged_[static_cast<size_t>(gate_)], true)) {
        if (gate_ == Gate::present) {
            log("the game is held at its presents ({}): an action shows in the next picture",
                names_of(apis));
        } else {
            log("the game is held by frame callbacks and buffers: it may be ahead of its pictures");
        }
    }
}

}  // namespace stepscope
