// SPDX-License-Identifier: LGPL-2.1-or-later
#include "real.hpp"

#include <dlfcn.h>

#include <atomic>
#include <initializer_list>

namespace stepscope::guest::real {

// NOLINTNEXTLINE(bugprone-macro-parentheses): a name
#define STEPSCOPE_DEFINE(name, ...) constinit decltype(&::name) name = nullptr;
STEPSCOPE_REAL_FUNCTIONS(STEPSCOPE_DEFINE)
STEPSCOPE_REAL_TIME_FUNCTIONS(STEPSCOPE_DEFINE)
STEPSCOPE_REAL_CONDITION_FUNCTIONS(STEPSCOPE_DEFINE)
#undef STEPSCOPE_DEFINE

namespace {

/** pthread_cond_* got a new layout in 2.3.2 on the architectures that existed then; a lookup
 * without a version may find the old one. */
void* find_condition(const char* name) {
#if defined(__x86_64__) || defined(__i386__)
    if (void* function = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2")) {
        return function;
    }
#endif
    return look_up()(RTLD_NEXT, name);
}

}  // namespace

LookUp look_up() {
    static constinit std::atomic<LookUp> found = nullptr;
    LookUp function = found.load(std::memory_order_relaxed);
    if (!function) {
        // It moved from libdl into the C library, under a new version; the old ones stay.
        for (const char* version : {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5", "GLIBC_2.0"}) {
            function = reinterpret_cast<LookUp>(dlvsym(RTLD_NEXT, "dlsym", version));
            if (function) {
                found.store(function, std::memory_order_relaxed);
                break;
            }
        }
    }
    return function;
}

void resolve() {
    const LookUp dlsym = look_up();
#define STEPSCOPE_RESOLVE(name) name = reinterpret_cast<decltype(name)>(dlsym(RTLD_NEXT, #name));
    STEPSCOPE_REAL_FUNCTIONS(STEPSCOPE_RESOLVE)
#undef STEPSCOPE_RESOLVE
#if defined(__i386__)
#define STEPSCOPE_SYMBOL(name, with_64_bit_times) #with_64_bit_times
#else
#define STEPSCOPE_SYMBOL(name, with_64_bit_times) #name
#endif
#define STEPSCOPE_RESOLVE(name, with_64_bit_times) \
    name = reinterpret_cast<decltype(name)>(       \
        dlsym(RTLD_NEXT, STEPSCOPE_SYMBOL(name, with_64_bit_times)));
    STEPSCOPE_REAL_TIME_FUNCTIONS(STEPSCOPE_RESOLVE)
#undef STEPSCOPE_RESOLVE
#define STEPSCOPE_RESOLVE(name, with_64_bit_times) \
    name = reinterpret_cast<decltype(name)>(       \
        find_condition(STEPSCOPE_SYMBOL(name, with_64_bit_times)));
    STEPSCOPE_REAL_CONDITION_FUNCTIONS(STEPSCOPE_RESOLVE)
#undef STEPSCOPE_RESOLVE
#undef STEPSCOPE_SYMBOL
}

}  // namespace stepscope::guest::real
