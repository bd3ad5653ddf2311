// SPDX-License-Identifier: LGPL-2.1-or-later
/**
 * What the clock library is tested with: `clock_program SCENARIO`. An ordinary program that knows
 * nothing of the library. Each line that it prints is `name result elapsed_ns`.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <cinttypes>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "clock_program.hpp"

namespace {

// Built for 32 bits there are two calls for each; the program uses those that fit its times.
#if defined(__i386__) && defined(_TIME_BITS) && _TIME_BITS == 64
constexpr long kClockGettime = SYS_clock_gettime64;
constexpr long kFutex = SYS_futex_time64;
#else
constexpr long kClockGettime = SYS_clock_gettime;
constexpr long kFutex = SYS_futex;
#endif

/** Times in futex_waitv have 64 bits everywhere. */
struct LongTime {
    int64_t seconds;
    int64_t nanoseconds;
};

void reads() {
    const auto read = [](const char* name, clockid_t clock) {
        timespec time{};
        const int result = ::clock_gettime(clock, &time);
        report(name, result, to_ns(time));
    };
    const timespec two = span(2'500 * kMs);
    ::nanosleep(&two, nullptr);
    read("realtime", CLOCK_REALTIME);
    read("realtime_coarse", CLOCK_REALTIME_COARSE);
    read("monotonic", CLOCK_MONOTONIC);
    read("monotonic_raw", CLOCK_MONOTONIC_RAW);
    read("monotonic_coarse", CLOCK_MONOTONIC_COARSE);
    read("boottime", CLOCK_BOOTTIME);
    read("process_cpu", CLOCK_PROCESS_CPUTIME_ID);
    read("thread_cpu", CLOCK_THREAD_CPUTIME_ID);
    timeval value{};
    ::gettimeofday(&value, nullptr);
    report("gettimeofday", 0,
           int64_t{value.tv_sec} * 1'000'000'000 + int64_t{value.tv_usec} * 1000);
    report("time", 0, ::time(nullptr));
    report("clock", 0, ::clock());
    timespec utc{};
    const int base = ::timespec_get(&utc, TIME_UTC);
    report("timespec_get", base, to_ns(utc));
    timespec raw{};
    ::syscall(kClockGettime, CLOCK_MONOTONIC, &raw);
    report("syscall", 0, to_ns(raw));
}

void sleeps() {
    measure("nanosleep", [] {
        const timespec time = span(3 * kMs + 7);
        return ::nanosleep(&time, nullptr);
    });
    measure("clock_nanosleep", [] {
        const timespec time = span(5 * kMs);
        return ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
    });
    measure("clock_nanosleep_abs", [] {
        const timespec time = later(CLOCK_REALTIME, 11 * kMs);
        return ::clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &time, nullptr);
    });
    measure("usleep", [] { return ::usleep(1234); });
    measure("sleep", [] { return static_cast<int>(::sleep(2)); });
    measure("thrd_sleep", [] {
        const timespec time = span(6 * kMs);
        return ::thrd_sleep(&time, nullptr);
    });
    measure("syscall_nanosleep", [] {
        const timespec time = span(9 * kMs);
#if defined(__i386__) && defined(_TIME_BITS) && _TIME_BITS == 64
        return static_cast<int>(
            ::syscall(SYS_clock_nanosleep_time64, CLOCK_MONOTONIC, 0, &time, nullptr));
#else
        return static_cast<int>(::syscall(SYS_nanosleep, &time, nullptr));
#endif
    });
    measure("this_thread", [] {
        std::this_thread::sleep_for(std::chrono::microseconds(77));
        return 0;
    });
}

void locks() {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&mutex);
    measure("cond_timedwait", [] {
        const timespec time = later(CLOCK_REALTIME, 13 * kMs);
        return pthread_cond_timedwait(&condition, &mutex, &time);
    });
    measure("cond_clockwait", [] {
        const timespec time = later(CLOCK_MONOTONIC, 17 * kMs);
        return pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, &time);
    });
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    static pthread_cond_t monotonic;
    pthread_cond_init(&monotonic, &attributes);
    measure("cond_monotonic", [] {
        const timespec time = later(CLOCK_MONOTONIC, 19 * kMs);
        return pthread_cond_timedwait(&monotonic, &mutex, &time);
    });
    // Holds the mutex for 40 ms: the timed attempts of the other thread give up on the way.
    std::thread other([] {
        measure("mutex_timedlock", [] {
            const timespec time = later(CLOCK_REALTIME, 10 * kMs);
            return pthread_mutex_timedlock(&mutex, &time);
        });
        measure("mutex_clocklock", [] {
            const timespec time = later(CLOCK_MONOTONIC, 10 * kMs);
            return pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &time);
        });
        measure("mutex_lock", [] { return pthread_mutex_lock(&mutex); });
        pthread_mutex_unlock(&mutex);
    });
    ::usleep(40'000);
    pthread_mutex_unlock(&mutex);
    other.join();

    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    measure("sem_timedwait", [&] {
        const timespec time = later(CLOCK_REALTIME, 23 * kMs);
        return sem_timedwait(&semaphore, &time) == 0 ? 0 : errno;
    });
    measure("sem_clockwait", [&] {
        const timespec time = later(CLOCK_MONOTONIC, 29 * kMs);
        return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &time) == 0 ? 0 : errno;
    });
    std::thread poster([&] {
        ::usleep(31'000);
        sem_post(&semaphore);
    });
    measure("sem_wait", [&] { return sem_wait(&semaphore); });
    poster.join();

    static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
    pthread_rwlock_wrlock(&lock);
    std::thread reader([] {
        measure("rwlock_timedrdlock", [] {
            const timespec time = later(CLOCK_REALTIME, 10 * kMs);
            return pthread_rwlock_timedrdlock(&lock, &time);
        });
        measure("rwlock_clockwrlock", [] {
            const timespec time = later(CLOCK_MONOTONIC, 10 * kMs);
            return pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &time);
        });
        measure("rwlock_rdlock", [] { return pthread_rwlock_rdlock(&lock); });
        pthread_rwlock_unlock(&lock);
    });
    ::usleep(35'000);
    pthread_rwlock_unlock(&lock);
    reader.join();

    std::thread sleeper([] { ::usleep(50'000); });
    measure("timedjoin", [&] {
        const timespec time = later(CLOCK_REALTIME, 20 * kMs);
        return pthread_timedjoin_np(sleeper.native_handle(), nullptr, &time);
    });
    measure("join", [&] {
        sleeper.join();
        return 0;
    });

    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, nullptr, 2);
    std::thread late([&] {
        ::usleep(15'000);
        pthread_barrier_wait(&barrier);
    });
    measure("barrier", [&] {
        pthread_barrier_wait(&barrier);
        return 0;
    });
    late.join();

    mtx_t c_mutex;
    cnd_t c_condition;
    mtx_init(&c_mutex, mtx_timed);
    cnd_init(&c_condition);
    mtx_lock(&c_mutex);
    measure("cnd_timedwait", [&] {
        const timespec time = later(CLOCK_REALTIME, 8 * kMs);
        return cnd_timedwait(&c_condition, &c_mutex, &time) == thrd_timedout ? 1 : 0;
    });
    struct C11 {
        mtx_t* mutex;
        cnd_t* condition;
    } c11{&c_mutex, &c_condition};
    thrd_t c_thread;
    thrd_create(
        &c_thread,
        [](void* raw) {
            auto* shared = static_cast<C11*>(raw);
            ::usleep(4'000);
            mtx_lock(shared->mutex);
            cnd_signal(shared->condition);
            mtx_unlock(shared->mutex);
            return 42;
        },
        &c11);
    measure("cnd_wait", [&] { return cnd_wait(&c_condition, &c_mutex); });
    mtx_unlock(&c_mutex);
    measure("thrd_join", [&] {
        int result = 0;
        thrd_join(c_thread, &result);
        return result;
    });

    std::mutex cxx_mutex;
    std::condition_variable cxx_condition;
    std::unique_lock lock_guard(cxx_mutex);
    measure("std_wait_for", [&] {
        return cxx_condition.wait_for(lock_guard, std::chrono::milliseconds(21)) ==
                       std::cv_status::timeout
                   ? 1
                   : 0;
    });
}

void futexes() {
    static uint32_t word = 0;
    const auto call = [](int operation, uint32_t value, const timespec* time, uint32_t bits) {
        return ::syscall(kFutex, &word, operation, value, time, nullptr, bits) == 0 ? 0 : errno;
    };
    measure("wait", [&] {
        const timespec time = span(12 * kMs);
        return call(FUTEX_WAIT_PRIVATE, 0, &time, 0);
    });
    measure("wait_bitset", [&] {
        const timespec time = later(CLOCK_MONOTONIC, 14 * kMs);
        return call(FUTEX_WAIT_BITSET_PRIVATE, 0, &time, 3);
    });
    measure("wait_bitset_realtime", [&] {
        const timespec time = later(CLOCK_REALTIME, 16 * kMs);
        return call(FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &time, 3);
    });
    measure("wait_shared", [&] {
        const timespec time = span(18 * kMs);
        return call(FUTEX_WAIT, 0, &time, 0);
    });
    measure("wait_changed", [&] { return call(FUTEX_WAIT_PRIVATE, 1, nullptr, 0); });
    std::thread waker([&] {
        ::usleep(20'000);
        __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
        report("woken", ::syscall(kFutex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0), 0);
    });
    measure("wait_woken", [&] { return call(FUTEX_WAIT_PRIVATE, 0, nullptr, 0); });
    waker.join();
    struct WaitV {
        uint64_t value, address;
        uint32_t flags, reserved;
    };
    uint32_t words[2] = {0, 0};
    const WaitV two[2] = {{0, reinterpret_cast<uintptr_t>(&words[0]), 2 | 128, 0},
                          {0, reinterpret_cast<uintptr_t>(&words[1]), 2 | 128, 0}};
    measure("waitv_timeout", [&] {
        const timespec end = later(CLOCK_MONOTONIC, 22 * kMs);
        const LongTime time{end.tv_sec, end.tv_nsec};
        return ::syscall(SYS_futex_waitv, two, 2, 0, &time, CLOCK_MONOTONIC) < 0 ? errno : 0;
    });
    std::thread second([&] {
        ::usleep(24'000);
        __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
        ::syscall(kFutex, &words[1], FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    });
    measure("waitv_woken", [&] {
        return static_cast<int>(::syscall(SYS_futex_waitv, two, 2, 0, nullptr, CLOCK_MONOTONIC));
    });
    second.join();
    std::atomic<int> flag = 0;
    std::thread setter([&] {
        ::usleep(26'000);
        flag = 1;
        flag.notify_all();
    });
    measure("atomic_wait", [&] {
        flag.wait(0);
        return flag.load();
    });
    setter.join();
}

void descriptors() {
    int ends[2];
    (void)!::pipe(ends);
    pollfd one{ends[0], POLLIN, 0};
    measure("poll", [&] { return ::poll(&one, 1, 12); });
    measure("poll_none", [&] { return ::poll(nullptr, 0, 5); });
    measure("ppoll", [&] {
        const timespec time = span(14 * kMs);
        return ::ppoll(&one, 1, &time, nullptr);
    });
    measure("select", [&] {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(ends[0], &set);
        timeval time{0, 16'000};
        return ::select(ends[0] + 1, &set, nullptr, nullptr, &time);
    });
    measure("pselect", [&] {
        const timespec time = span(18 * kMs);
        return ::pselect(0, nullptr, nullptr, nullptr, &time, nullptr);
    });
    const int epoll = ::epoll_create1(0);
    epoll_event event{EPOLLIN, {.u64 = 7}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
    epoll_event got{};
    measure("epoll_wait", [&] { return ::epoll_wait(epoll, &got, 1, 20); });
    measure("epoll_pwait", [&] { return ::epoll_pwait(epoll, &got, 1, 22, nullptr); });
    measure("epoll_pwait2", [&] {
        const timespec time = span(24 * kMs + 5);
        return ::epoll_pwait2(epoll, &got, 1, &time, nullptr);
    });
    // Readiness that another thread brings about, at an exact time, beats the timeout.
    const auto write_later = [&](long delay_us) {
        return std::thread([&, delay_us] {
            ::usleep(static_cast<useconds_t>(delay_us));
            (void)!::write(ends[1], "x", 1);
        });
    };
    char byte = 0;
    std::thread writer = write_later(3'000);
    measure("poll_ready", [&] { return ::poll(&one, 1, 1000); });
    writer.join();
    measure("poll_at_once", [&] { return ::poll(&one, 1, 1000); });
    (void)!::read(ends[0], &byte, 1);
    writer = write_later(4'000);
    measure("epoll_ready", [&] { return ::epoll_wait(epoll, &got, 1, -1); });
    writer.join();
    (void)!::read(ends[0], &byte, 1);
    writer = write_later(5'000);
    measure("read", [&] { return static_cast<int>(::read(ends[0], &byte, 1)); });
    writer.join();
    int pair[2];
    ::socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    std::thread sender([&] {
        ::usleep(6'000);
        (void)!::send(pair[1], "y", 1, 0);
    });
    measure("recv", [&] { return static_cast<int>(::recv(pair[0], &byte, 1, 0)); });
    sender.join();
}

void timers() {
    const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const itimerspec periodic{.it_interval = span(25 * kMs), .it_value = span(10 * kMs)};
    ::timerfd_settime(fd, 0, &periodic, nullptr);
    itimerspec value{};
    ::timerfd_gettime(fd, &value);
    report("timerfd_gettime", 0, value.it_value.tv_nsec);
    uint64_t count = 0;
    measure("timerfd_first", [&] {
        (void)!::read(fd, &count, sizeof count);
        return static_cast<int>(count);
    });
    const int epoll = ::epoll_create1(0);
    epoll_event event{EPOLLIN, {.u64 = 7}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    epoll_event got{};
    measure("timerfd_epoll", [&] { return ::epoll_wait(epoll, &got, 1, 1000); });
    ::usleep(35'000);
    measure("timerfd_missed", [&] {
        (void)!::read(fd, &count, sizeof count);
        return static_cast<int>(count);
    });
    const itimerspec off{};
    ::timerfd_settime(fd, 0, &off, nullptr);
    const timespec at = later(CLOCK_REALTIME, 33 * kMs);
    const int absolute = ::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    const itimerspec once{{0, 0}, at};
    ::timerfd_settime(absolute, TFD_TIMER_ABSTIME, &once, nullptr);
    pollfd one{absolute, POLLIN, 0};
    measure("timerfd_absolute", [&] { return ::poll(&one, 1, -1); });
    ::close(absolute);

    static timespec rung;
    struct sigaction action{};
    action.sa_handler = [](int) { ::clock_gettime(CLOCK_MONOTONIC, &rung); };
    ::sigaction(SIGALRM, &action, nullptr);
    measure("alarm", [] {
        ::alarm(3);
        return ::pause();
    });
    measure("alarm_interrupts", [] {
        const itimerval time{{0, 0}, {0, 30'000}};
        ::setitimer(ITIMER_REAL, &time, nullptr);
        const timespec long_time = span(100 * kMs);
        timespec rest{};
        const int result = ::nanosleep(&long_time, &rest);
        return result == -1 && errno == EINTR ? static_cast<int>(rest.tv_nsec / kMs) : 0;
    });
    sigevent thread_event{};
    thread_event.sigev_notify = SIGEV_THREAD;
    static sem_t done;
    sem_init(&done, 0, 0);
    thread_event.sigev_notify_function = [](sigval) { sem_post(&done); };
    timer_t timer;
    ::timer_create(CLOCK_MONOTONIC, &thread_event, &timer);
    const itimerspec shot{{0, 0}, span(44 * kMs)};
    ::timer_settime(timer, 0, &shot, nullptr);
    measure("timer_thread", [] { return sem_wait(&done); });
    ::timer_delete(timer);
    sigevent signal_event{};
    signal_event.sigev_notify = SIGEV_SIGNAL;
    signal_event.sigev_signo = SIGUSR1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::timer_create(CLOCK_MONOTONIC, &signal_event, &timer);
    ::timer_settime(timer, 0, &shot, nullptr);
    measure("timer_signal", [&] {
        int signal = 0;
        sigwait(&set, &signal);
        return signal == SIGUSR1;
    });
    measure("sigtimedwait", [&] {
        const timespec time = span(9 * kMs);
        return ::sigtimedwait(&set, nullptr, &time) == -1 ? errno : 0;
    });
}

void print_random(const char* name) {
    uint64_t values[4] = {};
    (void)!::getrandom(&values[0], 8, 0);
    (void)!::getentropy(&values[1], 8);
    const int fd = ::open("/dev/urandom", O_RDONLY);
    (void)!::read(fd, &values[2], 8);
    ::close(fd);
    FILE* file = std::fopen("/dev/random", "r");
    if (file != nullptr) {
        (void)!std::fread(&values[3], 8, 1, file);
        std::fclose(file);
    }
    for (uint64_t value : values) {
        report(name, 0, static_cast<int64_t>(value >> 1));
    }
    report(name, 0, arc4random());
}

void random_numbers() {
    print_random("main");
    std::thread([] { print_random("thread"); }).join();
    std::fflush(stdout);
    if (const pid_t child = ::fork(); child == 0) {
        print_random("child");
        std::fflush(stdout);
        ::_exit(0);
    } else {
        ::waitpid(child, nullptr, 0);
    }
}

const std::map<std::string, std::function<void()>> scenarios = {
    {"reads", reads},           {"sleeps", sleeps},         {"locks", locks},
    {"futexes", futexes},       {"timers", timers},         {"descriptors", descriptors},
    {"random", random_numbers}, {"results", results},       {"old_conditions", old_conditions},
    {"messages", messages},     {"old_clocks", old_clocks},
};

}  // namespace

int64_t monotonic_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return to_ns(time);
}

void report(const char* name, long result, int64_t elapsed) {
    std::printf("%s %ld %" PRId64 "\n", name, result, elapsed);
}

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: clock_program SCENARIO\n");
        return 2;
    }
    const std::string name = argv[1];
    if (name == "nap") {
        return ::usleep(static_cast<useconds_t>(std::atoi(argv[2])));
    }
    if (const auto found = scenarios.find(name); found != scenarios.end()) {
        found->second();
    } else if (!run_threaded_scenario(name) && !run_descriptor_scenario(name)) {
        std::fprintf(stderr, "clock_program: there is no scenario '%s'\n", argv[1]);
        return 2;
    }
    std::fflush(stdout);
    return 0;
}
