/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The C library's codec against the vectors that all languages share. */
#include "agent/agent_wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vector {
    char kind[16];
    char name[64];
    char sender[16];
    size_t fds;
    char texts[8][512];
    size_t text_count;
    unsigned char bytes[4096];
    size_t size;
};

static int failures;

static void complain(const struct vector* vector, const char* what, const char* detail) {
    fprintf(stderr, "%s: %s: %s\n", vector->name, what, detail);
    ++failures;
}

static void append(char* text, size_t size, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

static void append(char* text, size_t size, const char* format, ...) {
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static void describe(const struct agent_message* m, char* text, size_t size) {
    const struct stepscope_agent_stream* s = &m->event.stream;
    const struct stepscope_agent_slot* slot = &m->event.slot;
    const struct stepscope_agent_frame* f = &m->event.frame;
    text[0] = '\0';
    switch (m->type) {
        case AGENT_TYPE_ERROR:
            append(text, size, "error code=%u text=\"%s\"", m->code, m->event.text);
            break;
        case AGENT_TYPE_WELCOME:
            append(text, size,
                   "welcome version=%u granted=%u capabilities=%" PRIu64
                   " mode=%u max_credits=%u pid=%u",
                   m->version, m->granted, m->capabilities, m->mode, m->max_credits, m->pid);
            break;
        case AGENT_TYPE_STREAM:
            append(text, size,
                   "stream stream=%u memory=%u width=%u height=%u fourcc=%u flags=%u "
                   "modifier=%" PRIu64 " rate=%u/%u aspect=%u/%u step_ns=%" PRIu64
                   " clock=%u colour=%u,%u,%u,%u mastering=",
                   s->stream, s->memory, s->width, s->height, s->fourcc, s->flags, s->modifier,
                   s->rate_numerator, s->rate_denominator, s->aspect_numerator,
                   s->aspect_denominator, s->step_ns, s->clock, s->range, s->primaries, s->transfer,
                   s->matrix);
            for (int index = 0; index < 8; ++index) {
                append(text, size, "%s%u", index > 0 ? "," : "", s->mastering[index]);
            }
            append(text, size, " luminance=%u,%u light=%u,%u", s->mastering_max, s->mastering_min,
                   s->max_cll, s->max_fall);
            break;
        case AGENT_TYPE_SLOT:
            append(text, size, "slot slot=%u stream=%u planes=%u files=%u", slot->slot,
                   slot->stream, slot->planes, slot->files);
            for (uint32_t index = 0; index < slot->planes; ++index) {
                append(text, size, " plane%u=%u,%u,%" PRIu64, index, slot->plane[index].file,
                       slot->plane[index].stride, slot->plane[index].offset);
            }
            for (uint32_t index = 0; index < slot->files; ++index) {
                append(text, size, " size%u=%" PRIu64, index, slot->file_size[index]);
            }
            break;
        case AGENT_TYPE_SLOT_GONE:
            append(text, size, "slot_gone slot=%u", slot->slot);
            break;
        case AGENT_TYPE_FRAME:
            append(text, size,
                   "frame frame=%" PRIu64 " slot=%u flags=%u answers=%" PRIu64 " step=%" PRIu64
                   " pts=%" PRIu64 " duration=%" PRIu64 " virtual_time=%" PRIu64
                   " wall_time=%" PRIu64 " commit=%" PRIu64 " input_sequence=%" PRIu64
                   " path=%u reason=%u dropped=%u damage=%u",
                   f->frame, f->slot, f->flags, f->answers, f->step, f->pts, f->duration,
                   f->virtual_time, f->wall_time, f->commit, f->input_sequence, f->path, f->reason,
                   f->dropped, f->damage_count);
            for (uint32_t index = 0; index < f->damage_count; ++index) {
                const struct stepscope_agent_rectangle* one = &f->damage[index];
                append(text, size, " %u,%u,%u,%u", one->x, one->y, one->width, one->height);
            }
            break;
        case AGENT_TYPE_END:
            append(text, size, "end reason=%u value=%d text=\"%s\"", m->event.reason,
                   m->event.value, m->event.text);
            break;
        default:
            append(text, size, "refused number=%" PRIu64 " what=%u text=\"%s\"", m->event.number,
                   m->event.reason, m->event.text);
            break;
    }
}

/* What a producer says must be read as the vector has it. */
static void check_reading(const struct vector* vector) {
    /* Of just that size, so that a sanitizer sees a read beyond it. */
    unsigned char* bytes = malloc(vector->size > 0 ? vector->size : 1);
    memcpy(bytes, vector->bytes, vector->size);
    struct agent_reader reader;
    struct agent_message message;
    agent_reader_init(&reader, bytes, vector->size, vector->fds);
    size_t count = 0;
    int result = 0;
    while ((result = agent_read(&reader, &message)) == 1) {
        char text[512];
        describe(&message, text, sizeof(text));
        if (count < vector->text_count && strcmp(text, vector->texts[count]) != 0) {
            complain(vector, "read as", text);
        }
        ++count;
    }
    if (strcmp(vector->kind, "malformed") == 0) {
        if (result == 0) {
            complain(vector, "malformed", "but was read");
        }
    } else if (result < 0) {
        complain(vector, "refused", reader.wrong);
    } else if (count != vector->text_count) {
        complain(vector, "messages", "are not as many");
    }
    free(bytes);
}

/* What a consumer says must be written as the vector has it. */
static void check_writing(const struct vector* vector) {
    struct agent_packet packet;
    agent_packet_init(&packet);
    if (strcmp(vector->name, "hello") == 0) {
        agent_put_hello(&packet, 1, 1, 1, 15, 2, "agent");
    } else if (strcmp(vector->name, "hello-future") == 0) {
        agent_put_hello(&packet, 2, 9, 0, UINT64_C(1) << 63, 0, "");
    } else if (strcmp(vector->name, "credits") == 0) {
        agent_put_credits(&packet, 3);
    } else if (strcmp(vector->name, "release") == 0) {
        agent_put_release(&packet, UINT64_C(0x0102030405060708), 0);
    } else if (strcmp(vector->name, "release-fence") == 0) {
        agent_put_release(&packet, 7, 1);
    } else if (strcmp(vector->name, "input-key") == 0) {
        agent_put_input(&packet, AGENT_KEY, 1, 0, 0, 0, "Up");
    } else if (strcmp(vector->name, "input-relative") == 0) {
        agent_put_input(&packet, AGENT_RELATIVE, 0, 0, 1.5, -2.25, "");
    } else if (strcmp(vector->name, "input-gamepad-button") == 0) {
        agent_put_input(&packet, AGENT_GAMEPAD_BUTTON, 1, 1, 0, 0, "dpleft");
    } else if (strcmp(vector->name, "input-gamepad-axis") == 0) {
        agent_put_input(&packet, AGENT_GAMEPAD_AXIS, 0, 0, -0.75, 0, "leftx");
    } else if (strcmp(vector->name, "step") == 0) {
        agent_put_step(&packet, 12);
    } else if (strcmp(vector->name, "answer-of-an-agent") == 0) {
        agent_put_input(&packet, AGENT_BUTTON, 1, 1, 0, 0, "");
        agent_put_release(&packet, 6, 1);
        agent_put_credits(&packet, 1);
        agent_put_step(&packet, 7);
    } else {
        complain(vector, "unknown", "add it to this test");
        return;
    }
    if (packet.size != vector->size || memcmp(packet.bytes, vector->bytes, packet.size) != 0) {
        complain(vector, "written", "otherwise");
    }
}

static void check(const struct vector* vector) {
    if (strcmp(vector->sender, "consumer") != 0) {
        check_reading(vector);
    } else if (strcmp(vector->kind, "good") == 0) {
        check_writing(vector);
    }
}

int main(int argc, char** argv) {
    FILE* file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: agent_wire VECTORS\n");
        return 2;
    }
    static struct vector vector;
    static char line[8192];
    int count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char* rest = strchr(line, ' ');
        if (rest != NULL) {
            *rest++ = '\0';
        }
        if (strcmp(line, "good") == 0 || strcmp(line, "tolerated") == 0 ||
            strcmp(line, "malformed") == 0) {
            memset(&vector, 0, sizeof(vector));
            snprintf(vector.kind, sizeof(vector.kind), "%.15s", line);
            snprintf(vector.name, sizeof(vector.name), "%s", rest);
        } else if (strcmp(line, "from") == 0) {
            snprintf(vector.sender, sizeof(vector.sender), "%s", rest);
        } else if (strcmp(line, "fds") == 0) {
            vector.fds = strtoul(rest, NULL, 10);
        } else if (strcmp(line, "text") == 0) {
            snprintf(vector.texts[vector.text_count++], sizeof(vector.texts[0]), "%s", rest);
        } else if (strcmp(line, "bytes") == 0) {
            for (; rest[0] != '\0' && rest[1] != '\0'; rest += 2) {
                const char digits[3] = {rest[0], rest[1], '\0'};
                vector.bytes[vector.size++] = (unsigned char)strtoul(digits, NULL, 16);
            }
        } else if (strcmp(line, "end") == 0) {
            check(&vector);
            ++count;
        }
    }
    fclose(file);
    printf("%d vectors, %d failures\n", count, failures);
    return failures == 0 && count > 20 ? 0 : 1;
}
