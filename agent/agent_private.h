/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the library share; nothing of it is visible outside. As in the public header,
 * functions return -1 and note the error unless they say otherwise. */

#include <stddef.h>
#include <stdint.h>

#include "agent_wire.h"

enum { AGENT_ANSWER_MS = 5000, AGENT_MAX_QUEUED = 64 };

struct agent_slot {
    struct stepscope_agent_slot facts;
    uint32_t memory;
    uint32_t height;
    void* mapping;
    size_t mapped;
    struct agent_slot* next;
};

struct agent_held {
    uint64_t frame;
    int fence;
};

/* A message that was read, and is not asked for yet. */
struct agent_queued {
    struct agent_message message;
    int fds[4];
};

struct stepscope_agent {
    int socket;
    char error[1200];
    char ending[1100]; /* what ended the connection */
    struct stepscope_agent_stream stream;
    struct agent_slot* slots;
    struct agent_held held[AGENT_MAX_CREDITS];
    size_t held_count;
    struct agent_queued queue[AGENT_MAX_QUEUED];
    size_t queue_first;
    size_t queue_count;
    int steps;
    uint64_t sequence;
    int over;
    struct agent_packet outgoing;
};

/* agent_socket.c: packets, messages and time. */

/** Notes what went wrong; always -1. */
int agent_fail(struct stepscope_agent* agent, const char* format, ...)
    __attribute__((format(printf, 2, 3)));
/** The same, of what ends the connection: a message that could not be sent or understood. */
int agent_end(struct stepscope_agent* agent, const char* format, ...)
    __attribute__((format(printf, 2, 3)));
/** CLOCK_MONOTONIC. */
int64_t agent_now_ms(void);
void agent_close_fds(const int* fds, size_t count);
/** 1 once the descriptor is ready, 0 at the deadline (negative: none); -1 sets errno alone. */
int agent_wait_for(int fd, short events, int64_t deadline);
/** Sends a packet, with a fence that stays the caller's, or -1. */
int agent_send(struct stepscope_agent* agent, const struct agent_packet* packet, int fence);
/** What is put off leaves with what is sent next, in one packet. */
struct agent_packet* agent_outgoing(struct stepscope_agent* agent);
int agent_flush(struct stepscope_agent* agent);
/** The next message: 1, or 0 at the deadline. Its descriptors are the caller's. */
int agent_take(struct stepscope_agent* agent, int64_t deadline, struct agent_queued* taken);

/* agent_frames.c: memory, and the frames that are held. */

/** Both take the descriptors of the message, also where there can be none, which is -1; else 1. */
int agent_add_slot(struct stepscope_agent* agent, struct agent_queued* taken);
int agent_add_frame(struct stepscope_agent* agent, struct agent_queued* taken);
void agent_remove_slot(struct stepscope_agent* agent, uint32_t number);
/** All that was added. */
void agent_free_frames(struct stepscope_agent* agent);
