// SPDX-License-Identifier: LGPL-2.1-or-later
#include "present.hpp"

#include "local.hpp"

/** The present gate: who presents where, and who is held. */
namespace stepscope::guest {

namespace {

/** The step of a surface's last frame, which counts from when it is handed over: while one thread
 * is at it no other begins. Under the page's lock. */
struct Surface {
    uint64_t name;
    uint64_t step;
};
constexpr uint32_t kSurfaces = 32;
constinit Surface surfaces_shown[kSurfaces] = {};
constinit uint32_t next_shown = 0;

Surface* find_shown(uint64_t name) {
    for (Surface& surface : surfaces_shown) {
        if (surface.name == name && surface.step != 0) {
            return &surface;
        }
    }
    return nullptr;
}

void note_shown(uint64_t name, uint64_t step) {
    Surface* surface = find_shown(name);
    if (!surface) {
        surface = &surfaces_shown[next_shown++ % kSurfaces];
        surface->name = name;
    }
    surface->step = step;
}

/** It was no frame after all: the surface may have another one in this step. */
void take_back(uint64_t name, uint64_t step) {
    Surface* surface = find_shown(name);
    if (surface && surface->step == step) {
        surface->step = step - 1;
    }
}

bool is_known(const Thread& thread, uint64_t surface) {
    for (const uint64_t known : thread.surfaces) {
        if (known == surface) {
            return true;
        }
    }
    return thread.gate == surface;
}

/** Whether the surface is the one that the thread is held at: of several the newest, which a loop
 * usually draws last. */
bool is_gate(Thread& thread, uint64_t surface) {
    if (!is_known(thread, surface)) {
        thread.surfaces[thread.next_surface++ % 4] = thread.gate;
        thread.gate = surface;
    }
    return thread.gate == surface;
}

Thread* gated_thread() {
    Thread* thread = current();
    return thread && process.present_gate ? thread : nullptr;
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT int stepscope_clock_present_gate() {
    return gated_thread() != nullptr;
}

STEPSCOPE_EXPORT int stepscope_clock_present_begin(const uint64_t* surfaces, uint32_t count) {
    Thread* thread = gated_thread();
    if (!thread || thread->presenting++ != 0) {
        return 0;
    }
    int fresh = 0;
    for (uint32_t i = 0; i < count; ++i) {
        fresh = fresh || !is_known(*thread, surfaces[i]);
    }
    for (;;) {
        Locked locked;
        bool again = false;
        for (uint32_t i = 0; i < count; ++i) {
            const Surface* shown = find_shown(surfaces[i]);
            if (shown && shown->step == process.page->step_seq) {
                again = true;
                if (is_known(*thread, surfaces[i]) && thread->gate != surfaces[i]) {
                    // The surface that was the gate until now is presented to less often.
                    for (uint64_t& known : thread->surfaces) {
                        known = known == surfaces[i] ? thread->gate : known;
                    }
                    thread->gate = surfaces[i];
                }
            }
        }
        if (!again) {
            for (uint32_t i = 0; i < count; ++i) {
                note_shown(surfaces[i], process.page->step_seq);
            }
            return fresh;
        }
        wait(*thread, locked, nullptr, 0, WaitKind::present, kNever);
    }
}

STEPSCOPE_EXPORT void stepscope_clock_present_end(const uint64_t* surfaces, uint32_t count,
                                                  uint32_t api, int shown) {
    Thread* thread = gated_thread();
    if (!thread || thread->presenting == 0) {
        return;
    }
    --thread->presenting;
    if (thread->presenting != 0) {
        return;
    }
    ClockPage& page = *process.page;
    Locked locked;
    if (!shown) {
        for (uint32_t i = 0; i < count; ++i) {
            take_back(surfaces[i], page.step_seq);
        }
        return;
    }
    ++page.presents;
    page.present_apis.fetch_or(api, std::memory_order_relaxed);
    bool held = count == 0;
    for (uint32_t i = 0; i < count; ++i) {
        note_shown(surfaces[i], page.step_seq);
        held = is_gate(*thread, surfaces[i]) || held;
    }
    if (held) {
        // The rest of the game lives on until T + Δ; this thread does not.
        wait(*thread, locked, nullptr, 0, WaitKind::present, kNever);
    }
}
