/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watches the frames of a fencesink and saves the last one as a picture (PPM):
 *
 *     gst-launch-1.0 wlscreencopysrc ! fencesink socket-path=/tmp/game.frames &
 *     frame_viewer /tmp/game.frames 100 picture.ppm
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stepscope-agent.h"

/* DRM_FORMAT_XRGB8888 and its like: the bytes of red, green and blue in a pixel. */
static int channels_of(uint32_t fourcc, int channels[3]) {
    char name[5] = {(char)fourcc, (char)(fourcc >> 8), (char)(fourcc >> 16), (char)(fourcc >> 24),
                    '\0'};
    const int blue_first = strcmp(name, "XR24") == 0 || strcmp(name, "AR24") == 0;
    if (!blue_first && strcmp(name, "XB24") != 0 && strcmp(name, "AB24") != 0) {
        fprintf(stderr, "frame_viewer: can't show pictures of format %s\n", name);
        return -1;
    }
    channels[0] = blue_first ? 2 : 0;
    channels[1] = 1;
    channels[2] = blue_first ? 0 : 2;
    return 0;
}

static int save(const char* path, const struct stepscope_agent_stream* stream,
                const unsigned char* pixels, uint32_t stride) {
    int channels[3];
    if (stream->modifier != 0 || channels_of(stream->fourcc, channels) < 0) {
        return -1;
    }
    if (stride < (uint64_t)stream->width * 4) {
        fprintf(stderr, "frame_viewer: %u pixels don't fit into rows of %u bytes\n", stream->width,
                stride);
        return -1;
    }
    FILE* file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    fprintf(file, "P6\n%u %u\n255\n", stream->width, stream->height);
    for (uint32_t y = 0; y < stream->height; ++y) {
        const unsigned char* row = pixels + (size_t)y * stride;
        for (uint32_t x = 0; x < stream->width; ++x) {
            for (int channel = 0; channel < 3; ++channel) {
                fputc(row[4 * x + channels[channel]], file);
            }
        }
    }
    return fclose(file);
}

int main(int argc, char** argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: frame_viewer SOCKET FRAMES PICTURE.ppm\n");
        return 2;
    }
    char* end = NULL;
    long left = strtol(argv[2], &end, 10);
    if (left < 1 || *end != '\0') {
        fprintf(stderr, "frame_viewer: expected a number of frames from 1, got '%s'\n", argv[2]);
        return 2;
    }
    char why[512];
    const struct stepscope_agent_options options = {.name = "frame_viewer", .credits = 2};
    struct stepscope_agent* agent = stepscope_agent_connect(argv[1], &options, why, sizeof(why));
    if (agent == NULL) {
        fprintf(stderr, "frame_viewer: %s\n", why);
        return 1;
    }

    static struct stepscope_agent_event event;
    struct stepscope_agent_stream stream = {0};
    uint32_t stride[4096] = {0}; /* by slot */
    uint64_t frames = 0;
    uint64_t dropped = 0;
    int result = 0;
    int status = 1;
    while (left > 0 && (result = stepscope_agent_next(agent, -1, &event)) == 1) {
        if (event.type == STEPSCOPE_AGENT_STREAM) {
            stream = event.stream;
            printf("%ux%u, ", stream.width, stream.height);
            if (stream.rate_numerator == 0) {
                printf("a frame whenever there is one\n");
            } else {
                printf("%g frames per second\n",
                       (double)stream.rate_numerator / stream.rate_denominator);
            }
        } else if (event.type == STEPSCOPE_AGENT_SLOT) {
            stride[event.slot.slot % 4096] = event.slot.plane[0].stride;
        } else if (event.type == STEPSCOPE_AGENT_FRAME) {
            const struct stepscope_agent_frame* frame = &event.frame;
            ++frames;
            dropped += frame->dropped;
            if (--left == 0 && stepscope_agent_wait(agent, frame->frame, 10000) == 1) {
                const unsigned char* pixels = stepscope_agent_map(agent, frame->slot);
                if (pixels == NULL) {
                    fprintf(stderr, "frame_viewer: %s\n", stepscope_agent_error(agent));
                } else {
                    stepscope_agent_begin_cpu_access(agent, frame->slot);
                    status = save(argv[3], &stream, pixels, stride[frame->slot % 4096]) < 0;
                    stepscope_agent_end_cpu_access(agent, frame->slot);
                }
            }
            stepscope_agent_release(agent, frame->frame, -1);
        } else if (event.type == STEPSCOPE_AGENT_END) {
            fprintf(stderr, "frame_viewer: the stream ended: %s\n", event.text);
            break;
        }
    }
    if (result < 0) {
        fprintf(stderr, "frame_viewer: %s\n", stepscope_agent_error(agent));
    }
    printf("%" PRIu64 " frames, %" PRIu64 " missed\n", frames, dropped);
    stepscope_agent_destroy(agent);
    return status;
}
