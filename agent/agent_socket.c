/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packets, messages and time: what the library says and hears. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent_private.h"

int agent_fail(struct stepscope_agent* agent, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(agent->error, sizeof(agent->error), format, arguments);
    va_end(arguments);
    return -1;
}

int agent_end(struct stepscope_agent* agent, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(agent->ending, sizeof(agent->ending), format, arguments);
    va_end(arguments);
    agent->over = 1;
    return agent_fail(agent, "%s", agent->ending);
}

/* An error that names what ended the connection, whatever else went wrong since. */
static int fail_over(struct stepscope_agent* agent) {
    return agent_fail(agent, "the connection is over: %s", agent->ending);
}

int64_t agent_now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void agent_close_fds(const int* fds, size_t count) {
    for (size_t index = 0; index < count; ++index) {
        if (fds[index] >= 0) {
            close(fds[index]);
        }
    }
}

int agent_wait_for(int fd, short events, int64_t deadline) {
    for (;;) {
        int64_t left = deadline < 0 ? -1 : deadline - agent_now_ms();
        if (deadline >= 0 && left < 0) {
            left = 0;
        }
        struct pollfd poll_fd = {.fd = fd, .events = events};
        const int count = poll(&poll_fd, 1, (int)(left > 1000000000 ? 1000000000 : left));
        if (count > 0) {
            return 1;
        }
        if (count == 0) {
            return 0;
        }
        if (errno != EINTR) {
            return -1;
        }
    }
}

int agent_send(struct stepscope_agent* agent, const struct agent_packet* packet, int fence) {
    if (agent->over) {
        return fail_over(agent);
    }
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec vector = {(void*)packet->bytes, packet->size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (fence >= 0) {
        memset(&control, 0, sizeof(control));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.bytes);
        struct cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fence, sizeof(int));
    }
    for (;;) {
        if (sendmsg(agent->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
            return 0;
        }
        if (errno == EPIPE || errno == ECONNRESET) {
            return 0; /* why, it may have said: next() tells */
        }
        if (errno == EAGAIN) {
            if (agent_wait_for(agent->socket, POLLOUT, agent_now_ms() + AGENT_ANSWER_MS) == 1) {
                continue;
            }
            return agent_end(agent, "the producer does not read what it is sent");
        }
        if (errno != EINTR) {
            return agent_end(agent, "can't send to the producer: %s", strerror(errno));
        }
    }
}

struct agent_packet* agent_outgoing(struct stepscope_agent* agent) {
    if (agent->outgoing.size > AGENT_MAX_PACKET - 2048) {
        /* A failure ends the connection, and the next flush tells. */
        agent_send(agent, &agent->outgoing, -1);
        agent_packet_init(&agent->outgoing);
    }
    return &agent->outgoing;
}

int agent_flush(struct stepscope_agent* agent) {
    if (agent->outgoing.size == 0) {
        return 0;
    }
    const int result = agent_send(agent, &agent->outgoing, -1);
    agent_packet_init(&agent->outgoing);
    return result;
}

/* One packet from the socket; 1: queued, 0: nothing there, -1: over. */
static int receive(struct stepscope_agent* agent) {
    unsigned char bytes[AGENT_MAX_PACKET + 1];
    int fds[AGENT_MAX_FDS + 1];
    size_t fd_count = 0;
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(fds))];
    } control;
    struct iovec vector = {bytes, sizeof(bytes)};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t got = 0;
    int reset = 0;
    for (;;) {
        got = recvmsg(agent->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got >= 0 || (errno != EINTR && (errno != ECONNRESET || reset++ > 0))) {
            break; /* a reset comes once, ahead of what the producer said last */
        }
    }
    if (got < 0 && errno == EAGAIN) {
        return 0;
    }
    if (got >= 0) {
        for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != NULL;
             header = CMSG_NXTHDR(&message, header)) {
            if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
                fd_count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(fds, CMSG_DATA(header), fd_count * sizeof(int));
            }
        }
    }
    if (got <= 0) {
        agent_close_fds(fds, fd_count);
        return agent_end(agent, "the producer of the frames went away");
    }

    struct agent_reader reader;
    agent_reader_init(&reader, bytes, (size_t)got, fd_count);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        reader.wrong = "a packet is larger than it may be";
    }
    for (;;) {
        struct agent_queued* slot =
            &agent->queue[(agent->queue_first + agent->queue_count) % AGENT_MAX_QUEUED];
        if (agent->queue_count == AGENT_MAX_QUEUED) {
            reader.wrong = "a packet has more messages than make sense";
        }
        const int result = reader.wrong != NULL ? -1 : agent_read(&reader, &slot->message);
        if (result < 0) {
            agent_close_fds(fds, fd_count);
            return agent_end(agent, "the producer sent what is no message: %s", reader.wrong);
        }
        if (result == 0) {
            break;
        }
        for (size_t index = 0; index < 4; ++index) {
            slot->fds[index] = -1;
            if (index < slot->message.fds) {
                slot->fds[index] = fds[slot->message.first_fd + index];
                fds[slot->message.first_fd + index] = -1;
            }
        }
        ++agent->queue_count;
    }
    agent_close_fds(fds, fd_count); /* of messages that are not known */
    return 1;
}

int agent_take(struct stepscope_agent* agent, int64_t deadline, struct agent_queued* taken) {
    for (;;) {
        if (agent->queue_count > 0) {
            *taken = agent->queue[agent->queue_first];
            agent->queue_first = (agent->queue_first + 1) % AGENT_MAX_QUEUED;
            --agent->queue_count;
            if (taken->message.type == AGENT_TYPE_ERROR) {
                return agent_end(agent, "the producer ended the connection: %s",
                                 taken->message.event.text);
            }
            return 1;
        }
        if (agent->over) {
            return fail_over(agent);
        }
        const int received = receive(agent);
        if (received != 0) {
            if (received < 0) {
                return -1;
            }
            continue;
        }
        const int ready = agent_wait_for(agent->socket, POLLIN, deadline);
        if (ready <= 0) {
            return ready == 0 ? 0 : agent_fail(agent, "can't wait: %s", strerror(errno));
        }
    }
}
