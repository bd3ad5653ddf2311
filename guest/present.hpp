// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/**
 * To be called by a present hook (Vulkan layer, GL swap) right after the frame was handed over:
 * counts a present and returns when the next step begins. Any thread. Returns 1, or at once 0
 * where the process has no clock page. Look it up with dlsym(RTLD_DEFAULT, …): it is there only
 * if the clock library is.
 */
int stepscope_clock_present(void);

#ifdef __cplusplus
}
#endif
