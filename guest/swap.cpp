// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dlfcn.h>
#include <string.h>

#include "local.hpp"
#include "present.hpp"

/**
 * The present gate of EGL and GLX. Programs get at the swap functions in three ways: linked, from
 * dlsym() on a library that they opened, and from eglGetProcAddress() and its kin. The gate is the
 * vertical synchronisation: drivers are asked for an interval of 0, with which a frame is on its
 * way before the gate holds the thread.
 */
namespace stepscope::guest {

namespace {

using Function = void (*)();

/** The driver's function behind each hook; where a program was given it, else found when needed. */
struct Hook {
    const char* name;
    std::atomic<void*> real;
};

enum HookIndex : uint32_t {
    kEglSwapBuffers,
    kEglSwapBuffersWithDamageKhr,
    kEglSwapBuffersWithDamageExt,
    kEglSwapInterval,
    kEglGetProcAddress,
    kGlxSwapBuffers,
    kGlxSwapIntervalExt,
    kGlxSwapIntervalMesa,
    kGlxSwapIntervalSgi,
    kGlxGetProcAddress,
    kGlxGetProcAddressArb,
};

constinit Hook hooks[] = {
    {"eglSwapBuffers", nullptr},
    {"eglSwapBuffersWithDamageKHR", nullptr},
    {"eglSwapBuffersWithDamageEXT", nullptr},
    {"eglSwapInterval", nullptr},
    {"eglGetProcAddress", nullptr},
    {"glXSwapBuffers", nullptr},
    {"glXSwapIntervalEXT", nullptr},
    {"glXSwapIntervalMESA", nullptr},
    {"glXSwapIntervalSGI", nullptr},
    {"glXGetProcAddress", nullptr},
    {"glXGetProcAddressARB", nullptr},
};

/** What programs get in place of the driver's. */
void* ours(const Hook& hook);

/** Libraries that have them, where a lookup from here does not find them: a plugin may have
 * brought them along. */
constexpr const char* kEglLibraries[] = {"libEGL.so.1"};
constexpr const char* kGlxLibraries[] = {"libGL.so.1", "libGLX.so.0"};

template <size_t kCount>
void* search(const char* name, const char* const (&libraries)[kCount]) {
    void* found = real::look_up()(RTLD_NEXT, name);
    for (size_t i = 0; !found && i < kCount; ++i) {
        if (void* library = ::dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD)) {
            found = real::look_up()(library, name);
            ::dlclose(library);  // somebody else has it open, too
        }
    }
    return found;
}

void* search(const Hook& hook) {
    return hook.name[0] == 'e' ? search(hook.name, kEglLibraries)
                               : search(hook.name, kGlxLibraries);
}

void* real_of(uint32_t index) {
    Hook& hook = hooks[index];
    void* real = hook.real.load(std::memory_order_acquire);
    if (!real) {
        real = search(hook);
        hook.real.store(real, std::memory_order_release);
    }
    return real;
}

template <typename Pointer>
Pointer real_as(uint32_t index) {
    return reinterpret_cast<Pointer>(real_of(index));
}

Hook* find_hook(const char* name) {
    if (!name || (name[0] != 'e' && name[0] != 'g')) {
        return nullptr;
    }
    for (Hook& hook : hooks) {
        if (::strcmp(hook.name, name) == 0) {
            return &hook;
        }
    }
    return nullptr;
}

/** What a program gets for a name, where the driver would give it `found`. */
void* replace(Hook& hook, void* found) {
    if (found && found != ours(hook)) {
        hook.real.store(found, std::memory_order_release);
    }
    return found ? ours(hook) : nullptr;
}

Function replace_proc(const char* name, Function found) {
    Hook* hook = found ? find_hook(name) : nullptr;
    hook = hook && ::stepscope_clock_present_gate() ? hook : nullptr;
    return hook ? reinterpret_cast<Function>(replace(*hook, reinterpret_cast<void*>(found)))
                : found;
}

/** A name of ours that is looked up; nullptr where the lookup is none of our business. */
Hook* wanted_hook(void* handle, const char* name) {
    // By the name first: memory allocators look others up before anything has started.
    Hook* hook = handle != RTLD_NEXT ? find_hook(name) : nullptr;
    return hook && ::stepscope_clock_present_gate() ? hook : nullptr;
}

void* look_up_hook(Hook& hook, void* handle) {
    void* found = handle == RTLD_DEFAULT ? nullptr : real::look_up()(handle, hook.name);
    // Only what the program itself brings: our own stand-in is there in any case.
    return replace(hook, !found || found == ours(hook) ? search(hook) : found);
}

/** Around a swap: `set_interval` is called at the thread's first one on a surface. */
template <typename Swap, typename SetInterval>
auto present(uint64_t surface, uint32_t api, Swap swap, SetInterval set_interval) {
    if (::stepscope_clock_present_begin(&surface, 1)) {
        set_interval();
    }
    const auto done = swap();
    ::stepscope_clock_present_end(&surface, 1, api, done != 0);
    return done;
}

using EglSwapBuffers = unsigned (*)(void*, void*);
using EglSwapBuffersWithDamage = unsigned (*)(void*, void*, const int32_t*, int32_t);
using EglSwapInterval = unsigned (*)(void*, int32_t);
using GetProcAddress = Function (*)(const char*);

template <typename Swap>
unsigned egl_present(void* display, void* surface, Swap swap) {
    return present(reinterpret_cast<uint64_t>(surface), kPresentEgl, swap, [display] {
        if (auto real = real_as<EglSwapInterval>(kEglSwapInterval)) {
            real(display, 0);
        }
    });
}

unsigned swap_with_damage(uint32_t index, void* display, void* surface, const int32_t* rectangles,
                          int32_t count) {
    auto real = real_as<EglSwapBuffersWithDamage>(index);
    return !real ? 0 : egl_present(display, surface, [&] {
        return real(display, surface, rectangles, count);
    });
}

unsigned swap_with_damage_khr(void* display, void* surface, const int32_t* rectangles,
                              int32_t count) {
    return swap_with_damage(kEglSwapBuffersWithDamageKhr, display, surface, rectangles, count);
}

unsigned swap_with_damage_ext(void* display, void* surface, const int32_t* rectangles,
                              int32_t count) {
    return swap_with_damage(kEglSwapBuffersWithDamageExt, display, surface, rectangles, count);
}

using GlxDrawable = unsigned long;
using GlxSwapBuffers = void (*)(void*, GlxDrawable);
using GlxSwapIntervalExt = void (*)(void*, GlxDrawable, int);
using GlxSwapIntervalMesa = int (*)(unsigned);
using GlxSwapIntervalSgi = int (*)(int);

// A program that got this has checked that the driver can do it.
void swap_interval_ext(void* display, GlxDrawable drawable, int interval) {
    if (auto real = real_as<GlxSwapIntervalExt>(kGlxSwapIntervalExt)) {
        real(display, drawable, ::stepscope_clock_present_gate() ? 0 : interval);
    }
}

int swap_interval_mesa(unsigned interval) {
    auto real = real_as<GlxSwapIntervalMesa>(kGlxSwapIntervalMesa);
    return real ? real(::stepscope_clock_present_gate() ? 0 : interval) : 0;
}

// This one can't be asked for 0.
int swap_interval_sgi(int interval) {
    auto real = real_as<GlxSwapIntervalSgi>(kGlxSwapIntervalSgi);
    return !real || ::stepscope_clock_present_gate() ? 0 : real(interval);
}

/** Of the current drawable, by an extension that the driver says it has: others' functions are
 * there as well, but end in an X error. */
void clear_glx_interval(void* display, GlxDrawable drawable) {
    auto look_up = real_as<GetProcAddress>(kGlxGetProcAddressArb);
    auto extensions = look_up ? reinterpret_cast<const char* (*)(void*, int)>(look_up(
                                    reinterpret_cast<const char*>("glXQueryExtensionsString")))
                              : nullptr;
    const char* names = extensions ? extensions(display, 0) : nullptr;
    if (names && ::strstr(names, "GLX_MESA_swap_control")) {
        if (auto set = reinterpret_cast<GlxSwapIntervalMesa>(look_up("glXSwapIntervalMESA"))) {
            set(0);
        }
    } else if (names && ::strstr(names, "GLX_EXT_swap_control")) {
        if (auto set = reinterpret_cast<GlxSwapIntervalExt>(look_up("glXSwapIntervalEXT"))) {
            set(display, drawable, 0);
        }
    }
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT unsigned eglSwapBuffers(void* display, void* surface) {
    auto real = real_as<EglSwapBuffers>(kEglSwapBuffers);
    return !real ? 0 : egl_present(display, surface, [&] { return real(display, surface); });
}

STEPSCOPE_EXPORT unsigned eglSwapInterval(void* display, int32_t interval) {
    auto real = real_as<EglSwapInterval>(kEglSwapInterval);
    return real ? real(display, ::stepscope_clock_present_gate() ? 0 : interval) : 0;
}

STEPSCOPE_EXPORT Function eglGetProcAddress(const char* name) {
    auto real = real_as<GetProcAddress>(kEglGetProcAddress);
    return real ? replace_proc(name, real(name)) : nullptr;
}

STEPSCOPE_EXPORT void glXSwapBuffers(void* display, GlxDrawable drawable) {
    auto real = real_as<GlxSwapBuffers>(kGlxSwapBuffers);
    if (real) {
        present(
            drawable, kPresentGlx,
            [&] {
                real(display, drawable);
                return 1;
            },
            [&] { clear_glx_interval(display, drawable); });
    }
}

STEPSCOPE_EXPORT Function glXGetProcAddressARB(const char* name) {
    auto real = real_as<GetProcAddress>(kGlxGetProcAddressArb);
    return real ? replace_proc(name, real(name)) : nullptr;
}

STEPSCOPE_EXPORT Function glXGetProcAddress(const char* name) {
    auto real = real_as<GetProcAddress>(kGlxGetProcAddress);
    return real ? replace_proc(name, real(name)) : nullptr;
}

// A jump and no call: whose library calls decides what RTLD_NEXT means.
#if __has_cpp_attribute(clang::musttail)
#define STEPSCOPE_TAIL_CALL [[clang::musttail]]
#elif __has_cpp_attribute(gnu::musttail)
#define STEPSCOPE_TAIL_CALL [[gnu::musttail]]
#else
#define STEPSCOPE_TAIL_CALL
#endif

STEPSCOPE_EXPORT void* dlsym(void* handle, const char* name) noexcept {
    if (Hook* hook = wanted_hook(handle, name)) {
        return look_up_hook(*hook, handle);
    }
    const real::LookUp look_up = real::look_up();
    STEPSCOPE_TAIL_CALL return look_up(handle, name);
}

namespace stepscope::guest {

namespace {

void* ours(const Hook& hook) {
    const auto address = [](auto function) { return reinterpret_cast<void*>(function); };
    switch (static_cast<HookIndex>(&hook - hooks)) {
        case kEglSwapBuffers:
            return address(::eglSwapBuffers);
        case kEglSwapBuffersWithDamageKhr:
            return address(swap_with_damage_khr);
        case kEglSwapBuffersWithDamageExt:
            return address(swap_with_damage_ext);
        case kEglSwapInterval:
            return address(::eglSwapInterval);
        case kEglGetProcAddress:
            return address(::eglGetProcAddress);
        case kGlxSwapBuffers:
            return address(::glXSwapBuffers);
        case kGlxSwapIntervalExt:
            return address(swap_interval_ext);
        case kGlxSwapIntervalMesa:
            return address(swap_interval_mesa);
        case kGlxSwapIntervalSgi:
            return address(swap_interval_sgi);
        case kGlxGetProcAddress:
            return address(::glXGetProcAddress);
        case kGlxGetProcAddressArb:
            return address(::glXGetProcAddressARB);
    }
    return nullptr;
}

}  // namespace

}  // namespace stepscope::guest
