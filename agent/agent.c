/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent_wire.h"

enum { ANSWER_MS = 5000, MAX_QUEUED = 64 };

struct slot {
    struct stepscope_agent_slot facts;
    uint32_t memory;
    uint32_t height;
    void* mapping;
    size_t mapped;
    struct slot* next;
};

struct held {
    uint64_t frame;
    int fence;
};

/* A message that was read, and is not asked for yet. */
struct queued {
    struct agent_message message;
    int fds[4];
};

struct stepscope_agent {
    int socket;
    char error[1200];
    struct stepscope_agent_stream stream;
    struct slot* slots;
    struct held held[AGENT_MAX_CREDITS];
    size_t held_count;
    struct queued queue[MAX_QUEUED];
    size_t queue_first;
    size_t queue_count;
    uint64_t sequence;
    int over;
    struct agent_packet outgoing;
};

static int fail(struct stepscope_agent* agent, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

static int fail(struct stepscope_agent* agent, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(agent->error, sizeof(agent->error), format, arguments);
    va_end(arguments);
    return -1;
}

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void close_fds(const int* fds, size_t count) {
    for (size_t index = 0; index < count; ++index) {
        if (fds[index] >= 0) {
            close(fds[index]);
        }
    }
}

/* Waits for the socket; 1 if it is ready. */
static int wait_for(int fd, short events, int64_t deadline) {
    for (;;) {
        int64_t left = deadline < 0 ? -1 : deadline - now_ms();
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

/* What is on the socket. */

static int send_packet(struct stepscope_agent* agent, const struct agent_packet* packet,
                       int fence) {
    if (agent->over) {
        return fail(agent, "the connection is over");
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
            if (wait_for(agent->socket, POLLOUT, now_ms() + ANSWER_MS) == 1) {
                continue;
            }
            return fail(agent, "the producer does not read what it is sent");
        }
        if (errno != EINTR) {
            return fail(agent, "can't send to the producer: %s", strerror(errno));
        }
    }
}

/* What is put off leaves with what is sent next, in one packet. */
static struct agent_packet* outgoing(struct stepscope_agent* agent) {
    if (agent->outgoing.size > AGENT_MAX_PACKET - 2048) {
        send_packet(agent, &agent->outgoing, -1);
        agent_packet_init(&agent->outgoing);
    }
    return &agent->outgoing;
}

static int flush(struct stepscope_agent* agent) {
    if (agent->outgoing.size == 0) {
        return 0;
    }
    const int result = send_packet(agent, &agent->outgoing, -1);
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
        close_fds(fds, fd_count);
        agent->over = 1;
        return fail(agent, "the producer of the frames went away");
    }

    struct agent_reader reader;
    agent_reader_init(&reader, bytes, (size_t)got, fd_count);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        reader.wrong = "a packet is larger than it may be";
    }
    for (;;) {
        struct queued* slot = &agent->queue[(agent->queue_first + agent->queue_count) % MAX_QUEUED];
        if (agent->queue_count == MAX_QUEUED) {
            reader.wrong = "a packet has more messages than make sense";
        }
        const int result = reader.wrong != NULL ? -1 : agent_read(&reader, &slot->message);
        if (result < 0) {
            close_fds(fds, fd_count);
            agent->over = 1;
            return fail(agent, "the producer sent what is no message: %s", reader.wrong);
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
    close_fds(fds, fd_count); /* of messages that are not known */
    return 1;
}

/* The next message; as stepscope_agent_next(). */
static int take_message(struct stepscope_agent* agent, int64_t deadline, struct queued* taken) {
    for (;;) {
        if (agent->queue_count > 0) {
            *taken = agent->queue[agent->queue_first];
            agent->queue_first = (agent->queue_first + 1) % MAX_QUEUED;
            --agent->queue_count;
            if (taken->message.type == AGENT_TYPE_ERROR) {
                agent->over = 1;
                return fail(agent, "the producer ended the connection: %s",
                            taken->message.event.text);
            }
            return 1;
        }
        if (agent->over) {
            return fail(agent, "the connection is over");
        }
        const int received = receive(agent);
        if (received != 0) {
            if (received < 0) {
                return -1;
            }
            continue;
        }
        const int ready = wait_for(agent->socket, POLLIN, deadline);
        if (ready <= 0) {
            return ready == 0 ? 0 : fail(agent, "can't wait: %s", strerror(errno));
        }
    }
}

/* Slots and frames. */

static struct slot* find_slot(struct stepscope_agent* agent, uint32_t number) {
    struct slot* slot = agent->slots;
    while (slot != NULL && slot->facts.slot != number) {
        slot = slot->next;
    }
    return slot;
}

static void free_slot(struct slot* slot) {
    if (slot->mapping != NULL) {
        munmap(slot->mapping, slot->mapped);
    }
    close_fds(slot->facts.fds, 4);
    free(slot);
}

static int add_slot(struct stepscope_agent* agent, struct queued* taken) {
    struct stepscope_agent_slot* facts = &taken->message.event.slot;
    struct slot* slot = find_slot(agent, facts->slot) == NULL ? calloc(1, sizeof(*slot)) : NULL;
    if (slot == NULL || facts->stream != agent->stream.stream) {
        free(slot);
        close_fds(taken->fds, 4);
        agent->over = 1;
        return fail(agent, "the producer sent slot %u where there can be none", facts->slot);
    }
    memcpy(facts->fds, taken->fds, sizeof(facts->fds));
    slot->facts = *facts;
    slot->memory = agent->stream.memory;
    slot->height = agent->stream.height;
    slot->next = agent->slots;
    agent->slots = slot;
    return 1;
}

static void remove_slot(struct stepscope_agent* agent, uint32_t number) {
    for (struct slot** link = &agent->slots; *link != NULL; link = &(*link)->next) {
        if ((*link)->facts.slot == number) {
            struct slot* slot = *link;
            *link = slot->next;
            free_slot(slot);
            return;
        }
    }
}

static int add_frame(struct stepscope_agent* agent, struct queued* taken) {
    struct stepscope_agent_frame* frame = &taken->message.event.frame;
    if (agent->held_count == AGENT_MAX_CREDITS || find_slot(agent, frame->slot) == NULL) {
        close_fds(taken->fds, 4);
        agent->over = 1;
        return fail(agent, "the producer sent frame %llu where there can be none",
                    (unsigned long long)frame->frame);
    }
    frame->acquire_fence = taken->fds[0];
    agent->held[agent->held_count++] = (struct held){frame->frame, frame->acquire_fence};
    return 1;
}

static struct held* find_held(struct stepscope_agent* agent, uint64_t frame) {
    for (size_t index = 0; index < agent->held_count; ++index) {
        if (agent->held[index].frame == frame) {
            return &agent->held[index];
        }
    }
    return NULL;
}

int stepscope_agent_next(struct stepscope_agent* agent, int timeout_ms,
                         struct stepscope_agent_event* event) {
    const int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    if (flush(agent) < 0) {
        return -1;
    }
    for (;;) {
        struct queued taken;
        const int result = take_message(agent, deadline, &taken);
        if (result <= 0) {
            return result;
        }
        int known = 1;
        switch (taken.message.type) {
            case AGENT_TYPE_STREAM:
                agent->stream = taken.message.event.stream;
                break;
            case AGENT_TYPE_SLOT:
                known = add_slot(agent, &taken);
                break;
            case AGENT_TYPE_FRAME:
                known = add_frame(agent, &taken);
                break;
            case AGENT_TYPE_SLOT_GONE:
                remove_slot(agent, taken.message.event.slot.slot);
                break;
            case AGENT_TYPE_WELCOME:
                continue;
            default:
                break;
        }
        if (known < 0) {
            return -1;
        }
        *event = taken.message.event;
        return 1;
    }
}

/* Connecting. */

static struct stepscope_agent* give_up(struct stepscope_agent* agent, char* why, size_t why_size) {
    if (why_size > 0) {
        snprintf(why, why_size, "%s", agent->error);
    }
    stepscope_agent_destroy(agent);
    return NULL;
}

struct stepscope_agent* stepscope_agent_adopt(int socket_fd,
                                              const struct stepscope_agent_options* options,
                                              char* why, size_t why_size) {
    struct stepscope_agent* agent = calloc(1, sizeof(*agent));
    if (agent == NULL) {
        close(socket_fd);
        return NULL;
    }
    agent->socket = socket_fd;
    agent_packet_init(&agent->outgoing);
    const uint32_t credits = options->credits != 0 ? options->credits : 2;
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    if (credits > AGENT_MAX_CREDITS) {
        fail(agent, "%u credits; expected 1 to %d", credits, AGENT_MAX_CREDITS);
        return give_up(agent, why, why_size);
    }
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid()) {
        fail(agent, "the producer (pid %d) belongs to user %u", (int)peer.pid, (unsigned)peer.uid);
        return give_up(agent, why, why_size);
    }
    agent_put_hello(&agent->outgoing, 1, 1, options->steps ? 1 : 0, 15, credits, options->name);
    struct queued taken;
    taken.message.type = 0;
    int result = flush(agent);
    if (result == 0) {
        result = take_message(agent, now_ms() + ANSWER_MS, &taken);
    }
    if (result == 0) {
        fail(agent, "the producer does not answer for 5 s; is it stopped?");
    }
    if (result == 1 && taken.message.type != AGENT_TYPE_WELCOME) {
        close_fds(taken.fds, 4);
        fail(agent, "the producer did not answer with a welcome");
        result = -1;
    }
    if (result != 1) {
        return give_up(agent, why, why_size);
    }
    if (options->steps && (taken.message.granted & 1) == 0) {
        fail(agent, "%s",
             taken.message.mode == 2
                 ? "another consumer steps the game"
                 : "the producer does not wait for steps; give its fencesink wait=steps");
        return give_up(agent, why, why_size);
    }
    return agent;
}

struct stepscope_agent* stepscope_agent_connect(const char* path,
                                                const struct stepscope_agent_options* options,
                                                char* why, size_t why_size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address.sun_path)) {
        snprintf(why, why_size, "socket path '%s' has %zu bytes; 1 to %zu are possible", path,
                 length, sizeof(address.sun_path) - 1);
        return NULL;
    }
    memcpy(address.sun_path, path, length + 1);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr*)&address, sizeof(address)) < 0) {
        snprintf(why, why_size, "can't connect to '%s': %s; is a pipeline with fencesink running?",
                 path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    return stepscope_agent_adopt(fd, options, why, why_size);
}

void stepscope_agent_destroy(struct stepscope_agent* agent) {
    if (agent == NULL) {
        return;
    }
    close(agent->socket);
    for (; agent->queue_count > 0; --agent->queue_count) {
        close_fds(agent->queue[agent->queue_first].fds, 4);
        agent->queue_first = (agent->queue_first + 1) % MAX_QUEUED;
    }
    for (size_t index = 0; index < agent->held_count; ++index) {
        close_fds(&agent->held[index].fence, 1);
    }
    while (agent->slots != NULL) {
        struct slot* next = agent->slots->next;
        free_slot(agent->slots);
        agent->slots = next;
    }
    free(agent);
}

int stepscope_agent_fd(const struct stepscope_agent* agent) {
    return agent->socket;
}

const char* stepscope_agent_error(const struct stepscope_agent* agent) {
    return agent->error;
}

/* Using frames. */

int stepscope_agent_wait(struct stepscope_agent* agent, uint64_t frame, int timeout_ms) {
    const struct held* held = find_held(agent, frame);
    if (held == NULL) {
        return fail(agent, "frame %llu is not held", (unsigned long long)frame);
    }
    return held->fence < 0
               ? 1
               : wait_for(held->fence, POLLIN, timeout_ms < 0 ? -1 : now_ms() + timeout_ms);
}

const void* stepscope_agent_map(struct stepscope_agent* agent, uint32_t number) {
    struct slot* slot = find_slot(agent, number);
    if (slot == NULL) {
        fail(agent, "there is no slot %u", number);
        return NULL;
    }
    const uint32_t file = slot->facts.plane[0].file;
    const uint64_t offset = slot->facts.plane[0].offset;
    if (slot->mapping == NULL) {
        const off_t size = lseek(slot->facts.fds[file], 0, SEEK_END);
        const uint64_t needed = offset + (uint64_t)slot->facts.plane[0].stride * slot->height;
        if (size < 0 || (uint64_t)size < needed) {
            fail(agent, "slot %u needs %llu bytes, its memory has %lld", number,
                 (unsigned long long)needed, (long long)size);
            return NULL;
        }
        void* mapping = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, slot->facts.fds[file], 0);
        if (mapping == MAP_FAILED) {
            fail(agent, "slot %u can't be mapped: %s", number, strerror(errno));
            return NULL;
        }
        slot->mapping = mapping;
        slot->mapped = (size_t)size;
    }
    return (const unsigned char*)slot->mapping + offset;
}

static int sync_slot(struct stepscope_agent* agent, uint32_t number, uint64_t flags) {
    struct slot* slot = find_slot(agent, number);
    if (slot == NULL) {
        return fail(agent, "there is no slot %u", number);
    }
    struct dma_buf_sync sync = {.flags = flags | DMA_BUF_SYNC_READ};
    for (size_t index = 0; slot->memory == STEPSCOPE_AGENT_DMABUF && index < slot->facts.files;
         ++index) {
        int result = 0;
        do {
            result = ioctl(slot->facts.fds[index], DMA_BUF_IOCTL_SYNC, &sync);
        } while (result < 0 && (errno == EINTR || errno == EAGAIN));
        if (result < 0) {
            return fail(agent, "can't prepare slot %u for reading: %s", number, strerror(errno));
        }
    }
    return 0;
}

int stepscope_agent_begin_cpu_access(struct stepscope_agent* agent, uint32_t slot) {
    return sync_slot(agent, slot, DMA_BUF_SYNC_START);
}

int stepscope_agent_end_cpu_access(struct stepscope_agent* agent, uint32_t slot) {
    return sync_slot(agent, slot, DMA_BUF_SYNC_END);
}

int stepscope_agent_release(struct stepscope_agent* agent, uint64_t frame, int fence) {
    struct held* held = find_held(agent, frame);
    if (held == NULL) {
        return fail(agent, "frame %llu is not held", (unsigned long long)frame);
    }
    close_fds(&held->fence, 1);
    *held = agent->held[--agent->held_count];
    if (fence < 0) {
        agent_put_credits(outgoing(agent), 1);
        agent_put_release(outgoing(agent), frame, 0);
        /* Where steps are taken it leaves with the next one. */
        return agent->sequence > 0 ? 0 : flush(agent);
    }
    if (flush(agent) < 0) {
        return -1;
    }
    struct agent_packet packet;
    agent_packet_init(&packet);
    agent_put_credits(&packet, 1);
    agent_put_release(&packet, frame, 1);
    return send_packet(agent, &packet, fence);
}

int stepscope_agent_grant(struct stepscope_agent* agent, uint32_t count) {
    agent_put_credits(outgoing(agent), count);
    return flush(agent);
}

static int put_input(struct stepscope_agent* agent, uint32_t kind, int pressed, uint32_t button,
                     double x, double y, const char* key) {
    if (!isfinite(x) || !isfinite(y)) {
        return fail(agent, "expected finite numbers, got %g and %g", x, y);
    }
    agent_put_input(outgoing(agent), kind, pressed != 0, button, x, y, key);
    return 0;
}

int stepscope_agent_key(struct stepscope_agent* agent, const char* keysym, int pressed) {
    return put_input(agent, AGENT_KEY, pressed, 0, 0, 0, keysym);
}

int stepscope_agent_button(struct stepscope_agent* agent, uint32_t button, int pressed) {
    return put_input(agent, AGENT_BUTTON, pressed, button, 0, 0, "");
}

int stepscope_agent_move_to(struct stepscope_agent* agent, double x, double y) {
    return put_input(agent, AGENT_MOTION, 0, 0, x, y, "");
}

int stepscope_agent_move_by(struct stepscope_agent* agent, double dx, double dy) {
    return put_input(agent, AGENT_RELATIVE, 0, 0, dx, dy, "");
}

int stepscope_agent_scroll(struct stepscope_agent* agent, double right, double up) {
    return put_input(agent, AGENT_AXIS, 0, 0, right, up, "");
}

int stepscope_agent_gamepad_button(struct stepscope_agent* agent, uint32_t gamepad,
                                   const char* button, int pressed) {
    return put_input(agent, AGENT_GAMEPAD_BUTTON, pressed, gamepad, 0, 0, button);
}

int stepscope_agent_gamepad_axis(struct stepscope_agent* agent, uint32_t gamepad, const char* axis,
                                 double value) {
    return put_input(agent, AGENT_GAMEPAD_AXIS, 0, gamepad, value, 0, axis);
}

int stepscope_agent_step(struct stepscope_agent* agent, uint64_t* sequence) {
    agent_put_step(outgoing(agent), ++agent->sequence);
    if (sequence != NULL) {
        *sequence = agent->sequence;
    }
    return flush(agent);
}
