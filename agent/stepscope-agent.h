/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef STEPSCOPE_AGENT_H
#define STEPSCOPE_AGENT_H

/*
 * libstepscope-agent: frames of a game in your process, and your actions in the game.
 *
 * A pipeline with the GStreamer element fencesink hands frames out on a unix socket; this library
 * is a consumer of it. It needs nothing but libc. What is on the socket is specified in
 * docs/frame-socket.md; you need not know it.
 *
 *     struct stepscope_agent_options options = {.name = "viewer", .credits = 2};
 *     char why[256];
 *     struct stepscope_agent* agent = stepscope_agent_connect(path, &options, why, sizeof(why));
 *     struct stepscope_agent_event event;
 *     while (stepscope_agent_next(agent, -1, &event) == 1) {
 *         if (event.type == STEPSCOPE_AGENT_FRAME) {
 *             const unsigned char* pixels = stepscope_agent_map(agent, event.frame.slot);
 *             ...
 *             stepscope_agent_release(agent, event.frame.frame, -1);
 *         }
 *     }
 *
 * Ownership   The agent owns slots, mappings and descriptors; you own what you duplicate.
 * Threads     An agent is for one thread at a time. Different agents are independent.
 * Units       Times are nanoseconds, sizes bytes, positions pixels.
 * Errors      Functions return 0 (or what they say) if all went well, and -1 with a sentence in
 *             stepscope_agent_error(). After an error of next() the connection is over.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef STEPSCOPE_AGENT_API
#define STEPSCOPE_AGENT_API __attribute__((visibility("default"))) extern
#endif

/** A time that is not known. */
#define STEPSCOPE_AGENT_NO_TIME UINT64_MAX

struct stepscope_agent;

struct stepscope_agent_options {
    /** What the producer calls you in its messages; may be NULL. */
    const char* name;
    /** Frames that may be on their way to you or held, 1 to 256; 0 means 2. Each release lets the
     * next one come. */
    uint32_t credits;
    /** Not 0: you drive the game with stepscope_agent_step(). An error if somebody else does. */
    int steps;
};

enum stepscope_agent_memory {
    STEPSCOPE_AGENT_MEMFD = 1,  /* shared memory, can always be mapped */
    STEPSCOPE_AGENT_DMABUF = 2, /* a buffer of a device, see stepscope_agent_begin_cpu_access() */
};

/** What all pictures look like until the next such event. */
struct stepscope_agent_stream {
    uint32_t stream;
    uint32_t memory; /* enum stepscope_agent_memory */
    uint32_t width;
    uint32_t height;
    uint32_t fourcc;   /* DRM_FORMAT_*, "XR24" is bytes blue, green, red, unused */
    uint32_t flags;    /* 1: mastering is given; 2: max_cll and max_fall are; 4: alpha counts */
    uint64_t modifier; /* DRM_FORMAT_MOD_*; 0: rows of pixels */
    uint32_t rate_numerator; /* frames per second; 0: whenever there is one */
    uint32_t rate_denominator;
    uint32_t aspect_numerator; /* of a pixel */
    uint32_t aspect_denominator;
    uint64_t step_ns;   /* the game's time from frame to frame; 0: it runs by itself */
    uint32_t clock;     /* of pts: 0 the producer's running time, 1 the game's */
    uint32_t range;     /* 0 unknown, 1 full, 2 limited */
    uint16_t primaries; /* code points of ITU-T H.273, 2 unspecified */
    uint16_t transfer;
    uint16_t matrix;
    uint16_t mastering[8];  /* x, y of red, green, blue, white in 0.00002 */
    uint32_t mastering_max; /* 0.0001 cd/m2 */
    uint32_t mastering_min;
    uint16_t max_cll; /* cd/m2 */
    uint16_t max_fall;
};

/** Memory that frames are in; announced once. Import it when it comes, and keep that. */
struct stepscope_agent_slot {
    uint32_t slot;
    uint32_t stream;
    uint32_t planes; /* 1 to 4 */
    uint32_t files;  /* 1 to 4 */
    struct {
        uint32_t file; /* index of fds */
        uint32_t stride;
        uint64_t offset;
    } plane[4];
    uint64_t file_size[4];
    int fds[4]; /* the agent's; valid until the event SLOT_GONE of this slot */
};

struct stepscope_agent_rectangle {
    uint32_t x, y, width, height;
};

/** A picture. Yours to read until you release it. */
struct stepscope_agent_frame {
    uint64_t frame; /* its number */
    uint32_t slot;
    uint32_t flags;   /* 1: no new picture, that of before; 2: frames are missing before it */
    uint64_t answers; /* sequence of your step that it is the answer to; 0: to none */
    uint64_t step;    /* of the session; 0: the game runs by itself */
    uint64_t pts;     /* this and the next three may be STEPSCOPE_AGENT_NO_TIME */
    uint64_t duration;
    uint64_t virtual_time; /* of the game */
    uint64_t wall_time;    /* CLOCK_MONOTONIC */
    uint64_t commit;       /* the same number is the same picture; 0 unknown */
    uint64_t input_sequence;
    uint32_t path;   /* 0 unknown, 1 passed through, 2 composed, 3 copied */
    uint32_t reason; /* why it did not pass through */
    uint32_t dropped;
    uint32_t damage_count; /* 0: anything may have changed */
    struct stepscope_agent_rectangle damage[64];
    /** A sync_file that becomes readable (POLLIN) when the picture is complete; -1: it is. The
     * agent's, valid until you release the frame. stepscope_agent_wait() waits for it. */
    int acquire_fence;
};

enum stepscope_agent_event_type {
    STEPSCOPE_AGENT_STREAM = 1,
    STEPSCOPE_AGENT_SLOT = 2,
    STEPSCOPE_AGENT_SLOT_GONE = 3, /* no frame will use slot.slot again; drop your import */
    STEPSCOPE_AGENT_FRAME = 4,
    STEPSCOPE_AGENT_END = 5, /* the last event; frames that you hold stay valid */
    STEPSCOPE_AGENT_REFUSED = 6,
};

struct stepscope_agent_event {
    enum stepscope_agent_event_type type;
    struct stepscope_agent_stream stream; /* STREAM */
    struct stepscope_agent_slot slot;     /* SLOT, SLOT_GONE */
    struct stepscope_agent_frame frame;   /* FRAME */
    uint32_t reason; /* END: 1 stream ended, 2 game exited, 3 game crashed, 4 producer stopped,
                        5 producer failed */
    int32_t value;   /* END: exit status or signal */
    uint64_t number; /* REFUSED: sequence of the step, or number of the input from 1 */
    char text[1025]; /* END, REFUSED: for a person */
};

/**
 * Connects to the socket of a fencesink and says hello; waits for the answer, at most 5 s. NULL,
 * with the reason in `why`, if there is no producer, it belongs to another user, or does not want
 * you.
 */
STEPSCOPE_AGENT_API struct stepscope_agent* stepscope_agent_connect(
    const char* path, const struct stepscope_agent_options* options, char* why, size_t why_size);

/** The same with a connected SOCK_SEQPACKET socket, which is taken over. */
STEPSCOPE_AGENT_API struct stepscope_agent* stepscope_agent_adopt(
    int socket, const struct stepscope_agent_options* options, char* why, size_t why_size);

/** Ends the connection; mappings and descriptors go, frames are released. NULL is fine. */
STEPSCOPE_AGENT_API void stepscope_agent_destroy(struct stepscope_agent* agent);

/** For your own poll loop: when it is readable, call next() with a timeout of 0 until it returns 0.
 */
STEPSCOPE_AGENT_API int stepscope_agent_fd(const struct stepscope_agent* agent);

/** What went wrong last, in one sentence. Never NULL. */
STEPSCOPE_AGENT_API const char* stepscope_agent_error(const struct stepscope_agent* agent);

/**
 * The next event. 1: there is one in `event`; 0: none within `timeout_ms` (-1: no limit); -1: the
 * connection is over.
 */
STEPSCOPE_AGENT_API int stepscope_agent_next(struct stepscope_agent* agent, int timeout_ms,
                                             struct stepscope_agent_event* event);

/** Waits until the picture of a held frame is complete. 1: it is; 0: not within the time. */
STEPSCOPE_AGENT_API int stepscope_agent_wait(struct stepscope_agent* agent, uint64_t frame,
                                             int timeout_ms);

/**
 * The first byte of the slot's first plane, mapped for reading when it is first asked for and until
 * the slot is gone. Rows are plane[0].stride apart. NULL with an error where it can't be mapped.
 */
STEPSCOPE_AGENT_API const void* stepscope_agent_map(struct stepscope_agent* agent, uint32_t slot);

/** Bracket reading of a mapped DMA-BUF; nothing to do, and harmless, for shared memory. */
STEPSCOPE_AGENT_API int stepscope_agent_begin_cpu_access(struct stepscope_agent* agent,
                                                         uint32_t slot);
STEPSCOPE_AGENT_API int stepscope_agent_end_cpu_access(struct stepscope_agent* agent,
                                                       uint32_t slot);

/**
 * Gives a frame's memory back and lets another frame come. `fence` is -1, or a sync_file of yours
 * (duplicate: it stays yours) after which the memory may be written.
 */
STEPSCOPE_AGENT_API int stepscope_agent_release(struct stepscope_agent* agent, uint64_t frame,
                                                int fence);

/** More frames on their way than `credits` said. */
STEPSCOPE_AGENT_API int stepscope_agent_grant(struct stepscope_agent* agent, uint32_t count);

/*
 * Inputs. Where you step the game they reach it with your next step, else at once. What the source
 * can't do comes back as an event REFUSED.
 */

/** `keysym` is the name of an X keysym: "Up", "a", "space". */
STEPSCOPE_AGENT_API int stepscope_agent_key(struct stepscope_agent* agent, const char* keysym,
                                            int pressed);
/** 1 left, 2 middle, 3 right, 8 and 9 side. */
STEPSCOPE_AGENT_API int stepscope_agent_button(struct stepscope_agent* agent, uint32_t button,
                                               int pressed);
STEPSCOPE_AGENT_API int stepscope_agent_move_to(struct stepscope_agent* agent, double x, double y);
STEPSCOPE_AGENT_API int stepscope_agent_move_by(struct stepscope_agent* agent, double dx,
                                                double dy);
/** Clicks of a wheel; positive is right and up. */
STEPSCOPE_AGENT_API int stepscope_agent_scroll(struct stepscope_agent* agent, double right,
                                               double up);

/**
 * Gamepads of the session, counted from 0, where it has any. Names are SDL's: "a", "dpup",
 * "leftshoulder"; "leftx" from -1 to 1, right and down are positive; "lefttrigger" from 0 to 1.
 */
STEPSCOPE_AGENT_API int stepscope_agent_gamepad_button(struct stepscope_agent* agent,
                                                       uint32_t gamepad, const char* button,
                                                       int pressed);
STEPSCOPE_AGENT_API int stepscope_agent_gamepad_axis(struct stepscope_agent* agent,
                                                     uint32_t gamepad, const char* axis,
                                                     double value);

/**
 * Lets the game take one step. Its answer is the frame that has `*sequence` in `answers`, or END.
 * One step may be open at a time. You need a credit: release the frame before, or have two.
 */
STEPSCOPE_AGENT_API int stepscope_agent_step(struct stepscope_agent* agent, uint64_t* sequence);

#ifdef __cplusplus
}
#endif

#endif
