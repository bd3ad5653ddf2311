/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections, events, and what an agent sends. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent_private.h"

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
        if (why_size > 0) {
            snprintf(why, why_size, "there is no memory for a connection");
        }
        return NULL;
    }
    agent->socket = socket_fd;
    agent->steps = options->steps != 0;
    agent_packet_init(&agent->outgoing);
    const uint32_t credits = options->credits != 0 ? options->credits : 2;
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    if (credits > AGENT_MAX_CREDITS) {
        agent_fail(agent, "%u credits; expected 1 to %d", credits, AGENT_MAX_CREDITS);
        return give_up(agent, why, why_size);
    }
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid()) {
        agent_fail(agent, "the producer (pid %d) belongs to user %u", (int)peer.pid,
                   (unsigned)peer.uid);
        return give_up(agent, why, why_size);
    }
    agent_put_hello(&agent->outgoing, 1, 1, options->steps ? 1 : 0, 15, credits, options->name);
    struct agent_queued taken;
    taken.message.type = 0;
    int result = agent_flush(agent);
    if (result == 0) {
        result = agent_take(agent, agent_now_ms() + AGENT_ANSWER_MS, &taken);
    }
    if (result == 0) {
        agent_fail(agent, "the producer does not answer for 5 s; is it stopped?");
    }
    if (result == 1 && taken.message.type != AGENT_TYPE_WELCOME) {
        agent_close_fds(taken.fds, 4);
        agent_fail(agent, "the producer did not answer with a welcome");
        result = -1;
    }
    if (result != 1) {
        return give_up(agent, why, why_size);
    }
    if (options->steps && (taken.message.granted & 1) == 0) {
        agent_fail(agent, "%s",
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
        agent_close_fds(agent->queue[agent->queue_first].fds, 4);
        agent->queue_first = (agent->queue_first + 1) % AGENT_MAX_QUEUED;
    }
    agent_free_frames(agent);
    free(agent);
}

int stepscope_agent_fd(const struct stepscope_agent* agent) {
    return agent->socket;
}

const char* stepscope_agent_error(const struct stepscope_agent* agent) {
    return agent->error;
}

int stepscope_agent_next(struct stepscope_agent* agent, int timeout_ms,
                         struct stepscope_agent_event* event) {
    const int64_t deadline = timeout_ms < 0 ? -1 : agent_now_ms() + timeout_ms;
    if (agent_flush(agent) < 0) {
        return -1;
    }
    for (;;) {
        struct agent_queued taken;
        const int result = agent_take(agent, deadline, &taken);
        if (result <= 0) {
            return result;
        }
        int known = 1;
        switch (taken.message.type) {
            case AGENT_TYPE_STREAM:
                agent->stream = taken.message.event.stream;
                break;
            case AGENT_TYPE_SLOT:
                known = agent_add_slot(agent, &taken);
                break;
            case AGENT_TYPE_FRAME:
                known = agent_add_frame(agent, &taken);
                break;
            case AGENT_TYPE_SLOT_GONE:
                agent_remove_slot(agent, taken.message.event.slot.slot);
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

int stepscope_agent_grant(struct stepscope_agent* agent, uint32_t count) {
    agent_put_credits(agent_outgoing(agent), count);
    return agent_flush(agent);
}

static int put_input(struct stepscope_agent* agent, uint32_t kind, int pressed, uint32_t button,
                     double x, double y, const char* key) {
    if (!isfinite(x) || !isfinite(y)) {
        return agent_fail(agent, "expected finite numbers, got %g and %g", x, y);
    }
    agent_put_input(agent_outgoing(agent), kind, pressed != 0, button, x, y, key);
    /* Where steps are taken it leaves with the next one. */
    return agent->steps ? 0 : agent_flush(agent);
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
    agent_put_step(agent_outgoing(agent), ++agent->sequence);
    if (sequence != NULL) {
        *sequence = agent->sequence;
    }
    return agent_flush(agent);
}
