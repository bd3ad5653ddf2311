// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "clock_program.hpp"

namespace {

void work(unsigned amount) {
    for (volatile unsigned i = 0; i < amount; i = i + 1) {
    }
}

/**
 * Two producers with periods of their own, a consumer that waits with a timeout and a sleeper.
 * Every thread computes for a while, so that on a loaded machine they finish in any order.
 */
void producers() {
    std::mutex mutex;
    std::condition_variable condition;
    std::deque<int> queue;
    bool done = false;
    std::vector<std::pair<int, int64_t>> trace;
    const auto produce = [&](int id, int period_us, int count) {
        for (int i = 0; i < count; ++i) {
            ::usleep(static_cast<useconds_t>(period_us));
            work(20'000u * static_cast<unsigned>(i % 3));
            std::lock_guard lock(mutex);
            queue.push_back(id * 1000 + i);
            condition.notify_one();
        }
    };
    std::thread first(produce, 1, 3'100, 60);
    std::thread second(produce, 2, 5'300, 40);
    std::thread idle([] {
        for (int i = 0; i < 50; ++i) {
            ::usleep(1'700);
        }
    });
    std::thread consumer([&] {
        std::unique_lock lock(mutex);
        while (!done || !queue.empty()) {
            if (!condition.wait_for(lock, std::chrono::microseconds(2'000),
                                    [&] { return !queue.empty() || done; })) {
                trace.emplace_back(-1, monotonic_ns());
                continue;
            }
            while (!queue.empty()) {
                trace.emplace_back(queue.front(), monotonic_ns());
                queue.pop_front();
            }
        }
    });
    first.join();
    second.join();
    idle.join();
    {
        std::lock_guard lock(mutex);
        done = true;
    }
    condition.notify_all();
    consumer.join();
    for (const auto& [id, time] : trace) {
        report("event", id, time);
    }
}

/**
 * Threads that say that they are there and play their first sound at once, as SDL's, beside who
 * made them, which starts the music: which of the two is faster must not be heard.
 */
void starts() {
    for (int round = 0; round < 12; ++round) {
        std::mutex device;
        sem_t there;
        ::sem_init(&there, 0, 0);
        int music = 0;
        int heard = -1;
        std::thread player([&] {
            {
                std::lock_guard lock(device);
                heard = 0;
            }
            ::sem_post(&there);
            work(40'000u * static_cast<unsigned>(round % 3));
            {
                std::lock_guard lock(device);
                heard = music;
            }
            ::usleep(1'000);
        });
        ::sem_wait(&there);
        work(40'000u * static_cast<unsigned>((round + 1) % 3));
        {
            std::lock_guard lock(device);
            work(20'000u);
            music = 1;
        }
        ::usleep(5'000);
        player.join();
        ::sem_destroy(&there);
        report("heard", heard, monotonic_ns());
    }
}

/** Who makes a thread waits for it in ways that the library does not see. */
void starts_unseen() {
    std::atomic<bool> there = false;
    std::thread spun_for([&] { there = true; });
    while (!there) {
    }
    spun_for.join();
    report("spun", 1, monotonic_ns());
    int ends[2];
    if (::pipe(ends) != 0) {
        return;
    }
    std::vector<char> much(1 << 20);
    size_t taken = 0;
    std::thread reader([&] {
        std::vector<char> place(1 << 16);
        while (taken < much.size()) {
            taken += static_cast<size_t>(::read(ends[0], place.data(), place.size()));
        }
    });
    const bool written = ::write(ends[1], much.data(), much.size()) > 0;
    reader.join();
    report("written", written ? static_cast<long>(taken) : 0, monotonic_ns());
}

/** Several threads fight for one mutex that is held across sleeps. */
void contention() {
    std::mutex mutex;
    std::vector<std::thread> threads;
    int64_t total = 0;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 10; ++round) {
                std::lock_guard lock(mutex);
                ::usleep(1'000);
                ++total;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    report("total", total, monotonic_ns());
}

void spin() {
    const int64_t end = monotonic_ns() + 50'000'000;
    long reads = 0;
    while (monotonic_ns() < end) {
        ++reads;
    }
    report("spin", reads, monotonic_ns());
    const int64_t yield_end = monotonic_ns() + 10'000'000;
    long yields = 0;
    do {
        for (int i = 0; i < 10; ++i) {
            ::sched_yield();
            ++yields;
        }
    } while (monotonic_ns() < yield_end);
    report("yield", yields > 0, monotonic_ns());
}

/** Spins for ever; its progress can be seen from outside. */
void spin_forever() {
    for (;;) {
        report("at", 0, monotonic_ns());
        std::fflush(stdout);
        for (int i = 0; i < 98; ++i) {
            monotonic_ns();
        }
    }
}

void ticks() {
    for (int i = 0; i < 1'000'000; ++i) {
        report("tick", i, monotonic_ns());
        std::fflush(stdout);
        ::usleep(10'000);
    }
}

using PresentBegin = int (*)(const uint64_t*, uint32_t);
using PresentEnd = void (*)(const uint64_t*, uint32_t, uint32_t, int);

/** Shows a frame in a window, as the swap hooks do. Handing it over may take its time, and fail. */
void show(uint64_t window, unsigned takes_us = 0, bool works = true) {
    static const auto begin =
        reinterpret_cast<PresentBegin>(::dlsym(RTLD_DEFAULT, "stepscope_clock_present_begin"));
    static const auto end =
        reinterpret_cast<PresentEnd>(::dlsym(RTLD_DEFAULT, "stepscope_clock_present_end"));
    if (!begin || !end) {
        report("missing", 0, 0);
        return;
    }
    begin(&window, 1);
    // Before it goes out, a frame of another API that this one is made of.
    begin(&window, 1);
    end(&window, 1, 1, 1);
    if (takes_us != 0) {
        ::usleep(takes_us);
    }
    report(works ? "shown" : "failed", static_cast<int64_t>(window), monotonic_ns());
    std::fflush(stdout);
    end(&window, 1, 1, works);
}

void present() {
    std::thread audio([] {
        for (int i = 0; i < 20; ++i) {
            ::usleep(3'000);
        }
        report("audio", 20, monotonic_ns());
    });
    for (int frame = 0; frame < 5; ++frame) {
        report("frame", frame, monotonic_ns());
        std::fflush(stdout);
        show(1);
    }
    audio.join();
}

void present_windows() {
    for (int frame = 0; frame < 10; ++frame) {
        report("frame", frame, monotonic_ns());
        std::fflush(stdout);
        show(1);
        if (frame < 6) {
            show(2);
        }
    }
}

void present_threads() {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([] {
            for (int frame = 0; frame < 4; ++frame) {
                // The others come to their presents while one is at it.
                show(1, 1'000);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

void present_again() {
    for (int frame = 0; frame < 3; ++frame) {
        show(1, 1'000, false);
        show(1, 1'000);
    }
}

/** Lookups go through the library, which must not be seen doing it. */
void look_up() {
    // From here the next one after the program is the library's own, not the one behind it.
    void* const next = ::dlsym(RTLD_NEXT, "clock_gettime");
    report("next", next == ::dlsym(RTLD_DEFAULT, "clock_gettime") && next != nullptr, 0);
    report("egl", ::dlsym(RTLD_DEFAULT, "eglSwapBuffers") != nullptr, 0);
    report("glx", ::dlsym(RTLD_DEFAULT, "glXSwapBuffers") != nullptr, 0);
    report("missing", ::dlsym(RTLD_DEFAULT, "no_such_function") != nullptr, 0);
}

void children() {
    char path[4096] = {};
    (void)!::readlink("/proc/self/exe", path, sizeof path - 1);
    // The children may be of another word size.
    const char* other = std::getenv("STEPSCOPE_TEST_CHILD_PROGRAM");
    const std::string program = other ? other : path;
    measure("fork", [] {
        const pid_t child = ::fork();
        if (child == 0) {
            ::usleep(20'000);
            ::_exit(7);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    });
    measure("vfork_exec", [&] {
        // NOLINTNEXTLINE(bugprone-unsafe-functions,clang-analyzer-*): what is tested
        const pid_t child = ::vfork();
        if (child == 0) {
            // NOLINTNEXTLINE(clang-analyzer-unix.Vfork): it may exec
            ::execl(program.c_str(), "clock_program", "nap", "250000", nullptr);
            ::_exit(1);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    });
    measure("posix_spawn", [&] {
        char name[] = "clock_program";
        char scenario[] = "nap";
        char time[] = "125000";
        char* arguments[] = {name, scenario, time, nullptr};
        pid_t child = 0;
        ::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ);
        int status = 0;
        ::waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    });
    measure("system",
            [&] { return WEXITSTATUS(::system((program + " nap 500000; exit 3").c_str())); });
    measure("popen", [&] {
        FILE* stream = ::popen((program + " nap 750000").c_str(), "r");
        return WEXITSTATUS(::pclose(stream));
    });
    // Sleeps at the same time in two processes: the clock is one.
    measure("together", [] {
        const pid_t child = ::fork();
        if (child == 0) {
            ::usleep(30'000);
            ::_exit(0);
        }
        ::usleep(40'000);
        ::waitpid(child, nullptr, 0);
        return 0;
    });
}

void endings() {
    // A thread that ends while others wait, one that is cancelled, one that exits by itself.
    std::thread([] {}).join();
    pthread_t cancelled;
    pthread_create(
        &cancelled, nullptr,
        [](void*) -> void* {
            ::sleep(1000);
            return nullptr;
        },
        nullptr);
    ::usleep(1'000);
    pthread_cancel(cancelled);
    measure("cancelled", [&] {
        void* result = nullptr;
        pthread_join(cancelled, &result);
        return result == PTHREAD_CANCELED;
    });
    pthread_t leaver;
    pthread_create(
        &leaver, nullptr,
        [](void*) -> void* {
            ::usleep(2'000);
            pthread_exit(reinterpret_cast<void*>(9));
        },
        nullptr);
    measure("exited", [&] {
        void* result = nullptr;
        pthread_join(leaver, &result);
        return reinterpret_cast<intptr_t>(result);
    });
    std::thread detached([] { ::usleep(3'000); });
    detached.detach();
    measure("after", [] { return ::usleep(10'000); });
    // A signal for a thread that waits.
    struct sigaction action{};
    action.sa_handler = [](int) { ::usleep(1'500); };
    ::sigaction(SIGUSR1, &action, nullptr);
    const pthread_t self = pthread_self();
    std::thread other([&] {
        ::usleep(4'000);
        pthread_kill(self, SIGUSR1);
    });
    measure("interrupted", [] { return ::usleep(100'000) == -1; });
    other.join();
}

void die() {
    std::thread([] { ::sleep(1000); }).detach();
    ::usleep(5'000);
    ::raise(SIGKILL);
}

/** Never waits and never reads the clock. */
void busy() {
    for (volatile unsigned i = 0;; i = i + 1) {
    }
}

/** Many short sleeps, for measuring. */
void jumps() {
    for (int i = 0; i < 20'000; ++i) {
        ::usleep(1'000);
    }
}

void jumps_with_waiter() {
    int ends[2];
    (void)!::pipe(ends);
    std::thread([&] {
        pollfd one{ends[0], POLLIN, 0};
        ::poll(&one, 1, -1);
    }).detach();
    for (int i = 0; i < 5'000; ++i) {
        ::usleep(1'000);
    }
    ::_exit(0);
}

}  // namespace

bool run_threaded_scenario(const std::string& name) {
    static constexpr Scenario kScenarios[] = {{"producers", producers},
                                              {"contention", contention},
                                              {"starts", starts},
                                              {"starts_unseen", starts_unseen},
                                              {"spin", spin},
                                              {"spin_forever", spin_forever},
                                              {"ticks", ticks},
                                              {"look_up", look_up},
                                              {"present", present},
                                              {"present_threads", present_threads},
                                              {"present_again", present_again},
                                              {"present_windows", present_windows},
                                              {"children", children},
                                              {"endings", endings},
                                              {"die", die},
                                              {"busy", busy},
                                              {"jumps", jumps},
                                              {"jumps_with_waiter", jumps_with_waiter}};
    return run_scenario(kScenarios, name);
}
