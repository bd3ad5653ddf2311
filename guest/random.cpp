// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "local.hpp"

/**
 * Random numbers from the session's seed. Each thread has a stream of its own, named by its place
 * in the tree of threads and processes (the n-th child of …), so that streams do not depend on
 * which thread ran first. Not for secrets.
 */
namespace stepscope::guest {

namespace {

constexpr uint32_t kMaxFd = 4096;
constinit std::atomic<uint8_t> random_fds[kMaxFd];

bool is_random_path(const char* path) {
    return path && (::strcmp(path, "/dev/urandom") == 0 || ::strcmp(path, "/dev/random") == 0);
}

int remember_random(const char* path, int fd) {
    if (fd >= 0 && static_cast<uint32_t>(fd) < kMaxFd && is_random_path(path) && current() &&
        seeded()) {
        random_fds[fd].store(1, std::memory_order_relaxed);
    }
    return fd;
}

ssize_t read_cookie(void*, char* buffer, size_t size) {
    if (Thread* thread = current()) {
        fill_random(*thread, buffer, size);
    }
    return static_cast<ssize_t>(size);
}

FILE* open_random_stream(const char* mode) {
    return ::fopencookie(
        nullptr, mode, {.read = read_cookie, .write = nullptr, .seek = nullptr, .close = nullptr});
}

}  // namespace

uint64_t mix(uint64_t value) {
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

uint64_t child_stream(Thread& thread) {
    return mix(thread.random_key ^ mix(++thread.random_children + 0x517cc1b727220a95));
}

bool seeded() {
    return process.page && process.page->seeded;
}

void fill_random(Thread& thread, void* buffer, size_t size) {
    auto* bytes = static_cast<char*>(buffer);
    while (size > 0) {
        // A counter through a mixing function, keyed by the stream.
        const uint64_t value = mix(thread.random_key + mix(thread.random_counter++));
        const size_t part = size < sizeof value ? size : sizeof value;
        ::memcpy(bytes, &value, part);
        bytes += part;
        size -= part;
    }
}

bool is_random_fd(int fd) {
    return fd >= 0 && static_cast<uint32_t>(fd) < kMaxFd &&
           random_fds[fd].load(std::memory_order_relaxed) != 0;
}

void forget_random_fd(int fd) {
    if (fd >= 0 && static_cast<uint32_t>(fd) < kMaxFd) {
        random_fds[fd].store(0, std::memory_order_relaxed);
    }
}

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT ssize_t getrandom(void* buffer, size_t size, unsigned flags) {
    Thread* thread = current();
    if (!thread || !seeded()) {
        return real::getrandom(buffer, size, flags);
    }
    fill_random(*thread, buffer, size);
    return static_cast<ssize_t>(size);
}

STEPSCOPE_EXPORT int getentropy(void* buffer, size_t size) {
    Thread* thread = current();
    if (!thread || !seeded() || size > 256) {
        return real::getentropy(buffer, size);
    }
    fill_random(*thread, buffer, size);
    return 0;
}

STEPSCOPE_EXPORT void arc4random_buf(void* buffer, size_t size) {
    Thread* thread = current();
    if (!thread || !seeded()) {
        real::arc4random_buf(buffer, size);
        return;
    }
    fill_random(*thread, buffer, size);
}

STEPSCOPE_EXPORT uint32_t arc4random() {
    Thread* thread = current();
    if (!thread || !seeded()) {
        return real::arc4random();
    }
    uint32_t value = 0;
    fill_random(*thread, &value, sizeof value);
    return value;
}

STEPSCOPE_EXPORT uint32_t arc4random_uniform(uint32_t bound) {
    Thread* thread = current();
    if (!thread || !seeded()) {
        return real::arc4random_uniform(bound);
    }
    uint64_t value = 0;
    fill_random(*thread, &value, sizeof value);
    return bound ? static_cast<uint32_t>(value % bound) : 0;
}

// Under names of their own here: where file sizes always have 64 bits, the headers make open() mean
// open64() and would have it twice.
#define STEPSCOPE_OPEN(name)                                                               \
    STEPSCOPE_EXPORT int replaced_##name(const char* path, int flags, ...) __asm__(#name); \
    int replaced_##name(const char* path, int flags, ...) {                                \
        va_list list;                                                                      \
        va_start(list, flags);                                                             \
        const bool create = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY));                \
        const mode_t mode = create ? va_arg(list, mode_t) : 0;                             \
        va_end(list);                                                                      \
        current();                                                                         \
        return remember_random(path, real::name(path, flags, mode));                       \
    }
STEPSCOPE_OPEN(open)
STEPSCOPE_OPEN(open64)
#undef STEPSCOPE_OPEN

#define STEPSCOPE_OPENAT(name)                                                       \
    STEPSCOPE_EXPORT int replaced_##name(int directory, const char* path, int flags, \
                                         ...) __asm__(#name);                        \
    int replaced_##name(int directory, const char* path, int flags, ...) {           \
        va_list list;                                                                \
        va_start(list, flags);                                                       \
        const bool create = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY));          \
        const mode_t mode = create ? va_arg(list, mode_t) : 0;                       \
        va_end(list);                                                                \
        current();                                                                   \
        return remember_random(path, real::name(directory, path, flags, mode));      \
    }
STEPSCOPE_OPENAT(openat)
STEPSCOPE_OPENAT(openat64)
#undef STEPSCOPE_OPENAT

STEPSCOPE_EXPORT int __open_2(const char* path, int flags) {
    current();
    return remember_random(path, real::open(path, flags));
}

STEPSCOPE_EXPORT int __open64_2(const char* path, int flags) {
    current();
    return remember_random(path, real::open64(path, flags));
}

#define STEPSCOPE_FOPEN(name)                                                                  \
    STEPSCOPE_EXPORT FILE* replaced_##name(const char* path, const char* mode) __asm__(#name); \
    FILE* replaced_##name(const char* path, const char* mode) {                                \
        return current() && seeded() && is_random_path(path) ? open_random_stream(mode)        \
                                                             : real::name(path, mode);         \
    }
STEPSCOPE_FOPEN(fopen)
STEPSCOPE_FOPEN(fopen64)
#undef STEPSCOPE_FOPEN
