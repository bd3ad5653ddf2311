// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <stdint.h>

/**
 * The present gate: a present returns when the next step begins, so that what a game reads after
 * it shows in its very next frame. Called by the swap hooks and by the Vulkan layer, around the
 * real present and on its thread. Find them with dlsym(RTLD_DEFAULT, …): they are there only if
 * the clock library is, and do nothing where the process has no clock page. docs/virtual-time.md
 * has the rules.
 */
#ifdef __cplusplus
extern "C" {
#endif

/**
 * Before a frame is handed over. `surfaces` name the windows or swapchains that show it, by any
 * number that is unique in the process. Returns when each of them may show another frame: at once,
 * or, where somebody presented to one of them in this step already, when the next step begins.
 * Presents within a present, of an API that is made of another, are left alone.
 * Returns 1 if one of the surfaces is new to this thread.
 */
int stepscope_clock_present_begin(const uint64_t* surfaces, uint32_t count);

/**
 * After it. `api` is one of kPresent… in base/clock_page.hpp; `shown` is 0 where the present
 * failed. Counts a present and returns when the next step begins, or at once at all but the last
 * of several windows that a thread presents to in turn.
 */
void stepscope_clock_present_end(const uint64_t* surfaces, uint32_t count, uint32_t api, int shown);

/** 1 where presents are held: vertical synchronisation has nothing left to do. */
int stepscope_clock_present_gate(void);

#ifdef __cplusplus
}
#endif
