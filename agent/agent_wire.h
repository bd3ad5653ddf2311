/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The frame socket's bytes as a consumer writes and reads them (docs/frame-socket.md). */

#include "stepscope-agent.h"

enum {
    AGENT_MAX_PACKET = 16384,
    AGENT_MAX_FDS = 16,
    AGENT_MAX_TEXT = 1024,
    AGENT_MAX_CREDITS = 256,

    AGENT_TYPE_ERROR = 0x0001,
    AGENT_TYPE_WELCOME = 0x0201,
    AGENT_TYPE_STREAM = 0x0202,
    AGENT_TYPE_SLOT = 0x0203,
    AGENT_TYPE_SLOT_GONE = 0x0204,
    AGENT_TYPE_FRAME = 0x0205,
    AGENT_TYPE_END = 0x0206,
    AGENT_TYPE_REFUSED = 0x0207,

    AGENT_KEY = 1,
    AGENT_MOTION = 2,
    AGENT_RELATIVE = 3,
    AGENT_BUTTON = 4,
    AGENT_AXIS = 5,
    AGENT_GAMEPAD_BUTTON = 6,
    AGENT_GAMEPAD_AXIS = 7,
};

/** A packet that is being put together. A message that has no more room is left out: ok is 0. */
struct agent_packet {
    unsigned char bytes[AGENT_MAX_PACKET];
    size_t size;
    int ok;
};

void agent_packet_init(struct agent_packet* packet);
void agent_put_hello(struct agent_packet* packet, uint16_t version_min, uint16_t version_max,
                     uint32_t wants, uint64_t capabilities, uint32_t credits, const char* name);
void agent_put_credits(struct agent_packet* packet, uint32_t count);
void agent_put_release(struct agent_packet* packet, uint64_t frame, int with_fence);
void agent_put_input(struct agent_packet* packet, uint32_t kind, uint32_t pressed, uint32_t button,
                     double x, double y, const char* key);
void agent_put_step(struct agent_packet* packet, uint64_t sequence);

/** A message of the producer. */
struct agent_message {
    uint16_t type;
    uint16_t fds;
    size_t first_fd;                    /* of the packet's */
    struct stepscope_agent_event event; /* STREAM to REFUSED; fds are not filled in */
    uint32_t code;                      /* ERROR; its text is in event.text */
    /* WELCOME */
    uint16_t version;
    uint32_t granted;
    uint64_t capabilities;
    uint32_t mode;
    uint32_t max_credits;
    uint32_t pid;
};

/** Where a packet is being read. */
struct agent_reader {
    const unsigned char* bytes;
    size_t size;
    size_t offset;
    size_t fds;
    size_t used_fds;
    const char* wrong; /* what makes the packet malformed; NULL: nothing so far */
};

void agent_reader_init(struct agent_reader* reader, const unsigned char* bytes, size_t size,
                       size_t fds);

/** The next message of a known type: 1; 0 at the end of the packet; -1 if it is malformed. */
int agent_read(struct agent_reader* reader, struct agent_message* message);
