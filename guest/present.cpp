// SPDX-License-Identifier: LGPL-2.1-or-later
#include "present.hpp"

#include "local.hpp"

using namespace stepscope::guest;

STEPSCOPE_EXPORT int stepscope_clock_present() {
    Thread* thread = current();
    if (!thread) {
        return 0;
    }
    Locked locked;
    ++process.page->presents;
    if (set_event(*process.page, kEventPresent)) {
        locked.notify();
    }
    // The rest of the game lives on until T + Δ; this thread does not.
    wait(*thread, locked, nullptr, 0, WaitKind::step, kNever);
    return 1;
}
