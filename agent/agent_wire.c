/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent_wire.h"

#include <string.h>

enum { HEADER = 8 };

/* Bytes are put together one by one, so the order of the machine's does not matter. */

static void put(struct agent_packet* packet, uint64_t value, size_t size) {
    for (size_t index = 0; index < size; ++index) {
        packet->bytes[packet->size++] = (unsigned char)(value >> (8 * index));
    }
}

static uint64_t get(const unsigned char* bytes, size_t size) {
    uint64_t value = 0;
    for (size_t index = 0; index < size; ++index) {
        value |= (uint64_t)bytes[index] << (8 * index);
    }
    return value;
}

static uint16_t get16(const unsigned char* bytes) {
    return (uint16_t)get(bytes, 2);
}

static uint32_t get32(const unsigned char* bytes) {
    return (uint32_t)get(bytes, 4);
}

static uint64_t get64(const unsigned char* bytes) {
    return get(bytes, 8);
}

static uint64_t bits_of(double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

void agent_packet_init(struct agent_packet* packet) {
    packet->size = 0;
    packet->ok = 1;
}

/* Room for a message with a body of `body` bytes; 0 if there is none. */
static int begin(struct agent_packet* packet, uint16_t type, uint16_t fds, size_t body) {
    const size_t size = (HEADER + body + 7) / 8 * 8;
    if (size > sizeof(packet->bytes) - packet->size) {
        packet->ok = 0;
        return 0;
    }
    memset(packet->bytes + packet->size, 0, size);
    put(packet, type, 2);
    put(packet, fds, 2);
    put(packet, size, 4);
    return 1;
}

static void put_text(struct agent_packet* packet, const char* text, size_t length) {
    memcpy(packet->bytes + packet->size, text, length);
    packet->size += length;
    packet->size = (packet->size + 7) / 8 * 8;
}

static size_t length_of(const char* text) {
    return text != NULL ? strnlen(text, AGENT_MAX_TEXT) : 0;
}

void agent_put_hello(struct agent_packet* packet, uint16_t version_min, uint16_t version_max,
                     uint32_t wants, uint64_t capabilities, uint32_t credits, const char* name) {
    const size_t length = length_of(name);
    if (begin(packet, 0x0101, 0, 32 + length)) {
        memcpy(packet->bytes + packet->size, "STEPSOCK", 8);
        packet->size += 8;
        put(packet, version_min, 2);
        put(packet, version_max, 2);
        put(packet, wants, 4);
        put(packet, capabilities, 8);
        put(packet, credits, 4);
        put(packet, length, 4);
        put_text(packet, name != NULL ? name : "", length);
    }
}

void agent_put_credits(struct agent_packet* packet, uint32_t count) {
    if (begin(packet, 0x0102, 0, 8)) {
        put(packet, count, 4);
        put(packet, 0, 4);
    }
}

void agent_put_release(struct agent_packet* packet, uint64_t frame, int with_fence) {
    if (begin(packet, 0x0103, with_fence ? 1 : 0, 8)) {
        put(packet, frame, 8);
    }
}

void agent_put_input(struct agent_packet* packet, uint32_t kind, uint32_t pressed, uint32_t button,
                     double x, double y, const char* key) {
    const size_t length = length_of(key);
    if (begin(packet, 0x0104, 0, 32 + length)) {
        put(packet, kind, 4);
        put(packet, pressed, 4);
        put(packet, button, 4);
        put(packet, length, 4);
        put(packet, bits_of(x), 8);
        put(packet, bits_of(y), 8);
        put_text(packet, key != NULL ? key : "", length);
    }
}

void agent_put_step(struct agent_packet* packet, uint64_t sequence) {
    if (begin(packet, 0x0105, 0, 8)) {
        put(packet, sequence, 8);
    }
}

void agent_reader_init(struct agent_reader* reader, const unsigned char* bytes, size_t size,
                       size_t fds) {
    *reader = (struct agent_reader){.bytes = bytes, .size = size, .fds = fds};
    if (size == 0 || size > AGENT_MAX_PACKET) {
        reader->wrong = "a packet is empty, or larger than 16384 bytes";
    }
}

static int fail(struct agent_reader* reader, const char* what) {
    reader->wrong = what;
    return -1;
}

static int read_text(struct agent_reader* reader, struct agent_message* message,
                     const unsigned char* body, size_t size, size_t at, uint32_t length) {
    if (length > AGENT_MAX_TEXT || at + length > size) {
        return fail(reader, "a text is longer than its message, or than 1024 bytes");
    }
    if (memchr(body + at, 0, length) != NULL) {
        return fail(reader, "a text has a zero byte in it");
    }
    memcpy(message->event.text, body + at, length);
    message->event.text[length] = '\0';
    return 1;
}

static int read_stream(struct agent_reader* reader, struct stepscope_agent_stream* stream,
                       const unsigned char* body) {
    stream->stream = get32(body);
    stream->memory = get32(body + 4);
    stream->width = get32(body + 8);
    stream->height = get32(body + 12);
    stream->fourcc = get32(body + 16);
    stream->flags = get32(body + 20);
    stream->modifier = get64(body + 24);
    stream->rate_numerator = get32(body + 32);
    stream->rate_denominator = get32(body + 36);
    stream->aspect_numerator = get32(body + 40);
    stream->aspect_denominator = get32(body + 44);
    stream->step_ns = get64(body + 48);
    stream->clock = get32(body + 56);
    stream->range = get32(body + 60);
    stream->primaries = get16(body + 64);
    stream->transfer = get16(body + 66);
    stream->matrix = get16(body + 68);
    for (size_t index = 0; index < 8; ++index) {
        stream->mastering[index] = get16(body + 72 + 2 * index);
    }
    stream->mastering_max = get32(body + 88);
    stream->mastering_min = get32(body + 92);
    stream->max_cll = get16(body + 96);
    stream->max_fall = get16(body + 98);
    if (stream->width < 1 || stream->width > 65535 || stream->height < 1 ||
        stream->height > 65535) {
        return fail(reader, "a side of the picture is not within 1 to 65535");
    }
    if (stream->rate_denominator == 0 || stream->aspect_numerator == 0 ||
        stream->aspect_denominator == 0) {
        return fail(reader, "a fraction of the stream has a zero");
    }
    return 1;
}

static int read_slot(struct agent_reader* reader, struct stepscope_agent_slot* slot,
                     const unsigned char* body) {
    slot->slot = get32(body);
    slot->stream = get32(body + 4);
    slot->planes = get32(body + 8);
    slot->files = get32(body + 12);
    if (slot->planes < 1 || slot->planes > 4 || slot->files < 1 || slot->files > 4) {
        return fail(reader, "a slot has not 1 to 4 planes and files");
    }
    for (size_t index = 0; index < 4; ++index) {
        const unsigned char* plane = body + 16 + 16 * index;
        slot->plane[index].file = get32(plane);
        slot->plane[index].stride = get32(plane + 4);
        slot->plane[index].offset = get64(plane + 8);
        slot->file_size[index] = get64(body + 80 + 8 * index);
        slot->fds[index] = -1;
        if (index < slot->planes && slot->plane[index].file >= slot->files) {
            return fail(reader, "a plane lies in no file of its slot");
        }
    }
    return 1;
}

static int read_frame(struct agent_reader* reader, struct stepscope_agent_frame* frame,
                      const unsigned char* body, size_t size) {
    frame->frame = get64(body);
    frame->slot = get32(body + 8);
    frame->flags = get32(body + 12);
    frame->answers = get64(body + 16);
    frame->step = get64(body + 24);
    frame->pts = get64(body + 32);
    frame->duration = get64(body + 40);
    frame->virtual_time = get64(body + 48);
    frame->wall_time = get64(body + 56);
    frame->commit = get64(body + 64);
    frame->input_sequence = get64(body + 72);
    frame->path = get32(body + 80);
    frame->reason = get32(body + 84);
    frame->dropped = get32(body + 88);
    frame->damage_count = get32(body + 92);
    frame->acquire_fence = -1;
    if (frame->damage_count > 64 || 96 + 16 * (size_t)frame->damage_count > size) {
        return fail(reader, "a list is longer than its message, or than it may be");
    }
    for (size_t index = 0; index < frame->damage_count; ++index) {
        const unsigned char* one = body + 96 + 16 * index;
        frame->damage[index] = (struct stepscope_agent_rectangle){get32(one), get32(one + 4),
                                                                  get32(one + 8), get32(one + 12)};
    }
    return 1;
}

/* The fewest bytes of a message's body; 0: a type that is skipped. */
static size_t least_body(uint16_t type) {
    switch (type) {
        case AGENT_TYPE_ERROR:
        case AGENT_TYPE_SLOT_GONE:
            return 8;
        case AGENT_TYPE_WELCOME:
            return 32;
        case AGENT_TYPE_STREAM:
        case AGENT_TYPE_SLOT:
            return 112;
        case AGENT_TYPE_FRAME:
            return 96;
        case AGENT_TYPE_END:
        case AGENT_TYPE_REFUSED:
            return 16;
        default:
            return 0;
    }
}

static int read_body(struct agent_reader* reader, struct agent_message* message,
                     const unsigned char* body, size_t size) {
    struct stepscope_agent_event* event = &message->event;
    switch (message->type) {
        case AGENT_TYPE_ERROR:
            message->code = get32(body);
            return read_text(reader, message, body, size, 8, get32(body + 4));
        case AGENT_TYPE_WELCOME:
            message->version = get16(body);
            message->granted = get32(body + 4);
            message->capabilities = get64(body + 8);
            message->mode = get32(body + 16);
            message->max_credits = get32(body + 20);
            message->pid = get32(body + 24);
            return 1;
        case AGENT_TYPE_STREAM:
            event->type = STEPSCOPE_AGENT_STREAM;
            return read_stream(reader, &event->stream, body);
        case AGENT_TYPE_SLOT:
            event->type = STEPSCOPE_AGENT_SLOT;
            return read_slot(reader, &event->slot, body);
        case AGENT_TYPE_SLOT_GONE:
            event->type = STEPSCOPE_AGENT_SLOT_GONE;
            event->slot.slot = get32(body);
            return 1;
        case AGENT_TYPE_FRAME:
            event->type = STEPSCOPE_AGENT_FRAME;
            return read_frame(reader, &event->frame, body, size);
        case AGENT_TYPE_END:
            event->type = STEPSCOPE_AGENT_END;
            event->reason = get32(body);
            event->value = (int32_t)get32(body + 8);
            return read_text(reader, message, body, size, 16, get32(body + 4));
        default:
            event->type = STEPSCOPE_AGENT_REFUSED;
            event->number = get64(body);
            event->reason = get32(body + 8);
            return read_text(reader, message, body, size, 16, get32(body + 12));
    }
}

int agent_read(struct agent_reader* reader, struct agent_message* message) {
    while (reader->wrong == NULL && reader->offset < reader->size) {
        const unsigned char* bytes = reader->bytes + reader->offset;
        const size_t left = reader->size - reader->offset;
        if (left < HEADER) {
            return fail(reader, "bytes at the end of a packet are no whole message");
        }
        const uint16_t type = get16(bytes);
        const uint16_t fds = get16(bytes + 2);
        const uint32_t size = get32(bytes + 4);
        if (size < HEADER || size % 8 != 0 || size > left) {
            return fail(reader, "the size of a message is none that it can have");
        }
        if (fds > reader->fds - reader->used_fds) {
            return fail(reader, "a message has fewer descriptors than it should");
        }
        message->type = type;
        message->fds = fds;
        message->first_fd = reader->used_fds;
        reader->used_fds += fds;
        reader->offset += size;
        const size_t least = least_body(type);
        if (least == 0) {
            continue;
        }
        if (size - HEADER < least) {
            return fail(reader, "a message is shorter than its type says");
        }
        if (read_body(reader, message, bytes + HEADER, size - HEADER) < 0) {
            return -1;
        }
        if (type == AGENT_TYPE_SLOT ? fds != message->event.slot.files
                                    : fds > (type == AGENT_TYPE_FRAME ? 1 : 0)) {
            return fail(reader, "a message has descriptors that it should not have, or too few");
        }
        return 1;
    }
    if (reader->wrong == NULL && reader->used_fds != reader->fds) {
        return fail(reader, "a packet has descriptors that belong to no message");
    }
    return reader->wrong == NULL ? 0 : -1;
}
