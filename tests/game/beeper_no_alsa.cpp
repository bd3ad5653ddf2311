// SPDX-License-Identifier: LGPL-2.1-or-later
#include "beeper.hpp"

namespace stepscope::testgame {

std::unique_ptr<Beeper> Beeper::start_alsa() {
    return nullptr;
}

}  // namespace stepscope::testgame
