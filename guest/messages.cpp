// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <mqueue.h>
#include <poll.h>

#include "local.hpp"

/** POSIX message queues. They are descriptors on Linux, so a wait for one is a poll. */
namespace stepscope::guest {

namespace {

constexpr timespec kAtOnce{};  // long past: the kernel says ETIMEDOUT where it would wait

/** `transfer` tries without waiting. `deadline` may be null. */
template <typename Transfer>
auto transfer_until(mqd_t queue, short events, const timespec* deadline, Transfer transfer) {
    for (;;) {
        const auto done = transfer();
        if (done >= 0 || errno != ETIMEDOUT) {
            return done;
        }
        if (deadline &&
            (deadline->tv_sec < 0 || deadline->tv_nsec < 0 || deadline->tv_nsec >= 1'000'000'000)) {
            errno = EINVAL;
            return done;
        }
        timespec rest{};
        if (deadline) {
            const uint64_t start = now();
            const uint64_t end = deadline_at(CLOCK_REALTIME, *deadline);
            if (end <= start) {
                errno = ETIMEDOUT;
                return done;
            }
            rest = to_timespec(end - start);
        }
        pollfd one{queue, events, 0};
        const int ready = ::ppoll(&one, 1, deadline ? &rest : nullptr, nullptr);
        if (ready < 0) {
            return done;
        }
    }
}

ssize_t receive_message(mqd_t queue, char* text, size_t size, unsigned* priority,
                        const timespec* deadline) {
    return transfer_until(queue, POLLIN, deadline, [&] {
        return real::mq_timedreceive(queue, text, size, priority, &kAtOnce);
    });
}

int send_message(mqd_t queue, const char* text, size_t size, unsigned priority,
                 const timespec* deadline) {
    return transfer_until(queue, POLLOUT, deadline, [&] {
        return real::mq_timedsend(queue, text, size, priority, &kAtOnce);
    });
}

}  // namespace

}  // namespace stepscope::guest

using namespace stepscope::guest;

STEPSCOPE_EXPORT ssize_t mq_timedreceive(mqd_t queue, char* text, size_t size, unsigned* priority,
                                         const timespec* deadline) {
    return current() ? receive_message(queue, text, size, priority, deadline)
                     : real::mq_timedreceive(queue, text, size, priority, deadline);
}

STEPSCOPE_EXPORT int mq_timedsend(mqd_t queue, const char* text, size_t size, unsigned priority,
                                  const timespec* deadline) {
    return current() ? send_message(queue, text, size, priority, deadline)
                     : real::mq_timedsend(queue, text, size, priority, deadline);
}

STEPSCOPE_EXPORT ssize_t mq_receive(mqd_t queue, char* text, size_t size, unsigned* priority) {
    return current() ? receive_message(queue, text, size, priority, nullptr)
                     : real::mq_receive(queue, text, size, priority);
}

STEPSCOPE_EXPORT int mq_send(mqd_t queue, const char* text, size_t size, unsigned priority) {
    return current() ? send_message(queue, text, size, priority, nullptr)
                     : real::mq_send(queue, text, size, priority);
}
