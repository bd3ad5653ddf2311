// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pthread.h>
#include <stdint.h>

namespace stepscope::guest {

struct Thread;

/** pthread_mutex_lock and _unlock as the game sees them. */
int lock_mutex(Thread& thread, pthread_mutex_t* mutex);
int unlock_mutex(pthread_mutex_t* mutex);

/** Waits, without the mutex, for signal_condition(); what the condition is made of does not matter.
 */
int wait_for_condition(Thread& thread, const void* condition, pthread_mutex_t* mutex,
                       uint64_t deadline);
int signal_condition(const void* condition, uint32_t count);

}  // namespace stepscope::guest
