// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clock_program.hpp"

#if defined(__i386__)

#include <pthread.h>
#include <unistd.h>

#include <cstring>
#include <thread>

namespace {

struct OldTime {
    int32_t seconds;
    int32_t nanoseconds;
};

/** As programs had them that were linked before glibc 2.3.2: three words, here with others beside.
 */
struct OldCondition {
    void* inner;
    uint32_t unused[2];
    uint32_t others[16];
};

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
OldCondition condition{};

}  // namespace

extern "C" {
int old_wait(OldCondition*, pthread_mutex_t*);
int old_timedwait(OldCondition*, pthread_mutex_t*, const OldTime*);
int old_signal(OldCondition*);
int old_broadcast(OldCondition*);
}
__asm__(".symver old_wait, pthread_cond_wait@GLIBC_2.0");
__asm__(".symver old_timedwait, pthread_cond_timedwait@GLIBC_2.0");
__asm__(".symver old_signal, pthread_cond_signal@GLIBC_2.0");
__asm__(".symver old_broadcast, pthread_cond_broadcast@GLIBC_2.0");

void old_conditions() {
    std::memset(condition.others, 0xff, sizeof condition.others);
    pthread_mutex_lock(&mutex);
    measure("timedwait", [] {
        const timespec end = later(CLOCK_REALTIME, 13 * kMs);
        const OldTime time{static_cast<int32_t>(end.tv_sec), static_cast<int32_t>(end.tv_nsec)};
        return old_timedwait(&condition, &mutex, &time);
    });
    const auto wake_later = [](int (*wake)(OldCondition*)) {
        return std::thread([wake] {
            ::usleep(20'000);
            pthread_mutex_lock(&mutex);
            wake(&condition);
            pthread_mutex_unlock(&mutex);
        });
    };
    std::thread other = wake_later(old_signal);
    measure("signal", [] { return old_wait(&condition, &mutex); });
    pthread_mutex_unlock(&mutex);
    other.join();
    pthread_mutex_lock(&mutex);
    other = wake_later(old_broadcast);
    measure("broadcast", [] { return old_wait(&condition, &mutex); });
    pthread_mutex_unlock(&mutex);
    other.join();
    bool kept = true;
    for (const uint32_t word : condition.others) {
        kept = kept && word == UINT32_MAX;
    }
    report("kept", kept, 0);
}

#else

void old_conditions() {}

#endif
