// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pthread.h>

namespace stepscope::guest {

struct Thread;

/** pthread_mutex_lock and _unlock as the game sees them. */
int lock_mutex(Thread& thread, pthread_mutex_t* mutex);
int unlock_mutex(pthread_mutex_t* mutex);

}  // namespace stepscope::guest
