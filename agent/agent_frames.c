/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that the producer announced, and frames that are held. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent_private.h"

static struct agent_slot* find_slot(struct stepscope_agent* agent, uint32_t number) {
    struct agent_slot* slot = agent->slots;
    while (slot != NULL && slot->facts.slot != number) {
        slot = slot->next;
    }
    return slot;
}

static void free_slot(struct agent_slot* slot) {
    if (slot->mapping != NULL) {
        munmap(slot->mapping, slot->mapped);
    }
    agent_close_fds(slot->facts.fds, 4);
    free(slot);
}

int agent_add_slot(struct stepscope_agent* agent, struct agent_queued* taken) {
    struct stepscope_agent_slot* facts = &taken->message.event.slot;
    struct agent_slot* slot =
        find_slot(agent, facts->slot) == NULL ? calloc(1, sizeof(*slot)) : NULL;
    if (slot == NULL || facts->stream != agent->stream.stream) {
        free(slot);
        agent_close_fds(taken->fds, 4);
        return agent_end(agent, "the producer sent slot %u where there can be none", facts->slot);
    }
    memcpy(facts->fds, taken->fds, sizeof(facts->fds));
    slot->facts = *facts;
    slot->memory = agent->stream.memory;
    slot->height = agent->stream.height;
    slot->next = agent->slots;
    agent->slots = slot;
    return 1;
}

void agent_remove_slot(struct stepscope_agent* agent, uint32_t number) {
    for (struct agent_slot** link = &agent->slots; *link != NULL; link = &(*link)->next) {
        if ((*link)->facts.slot == number) {
            struct agent_slot* slot = *link;
            *link = slot->next;
            free_slot(slot);
            return;
        }
    }
}

int agent_add_frame(struct stepscope_agent* agent, struct agent_queued* taken) {
    struct stepscope_agent_frame* frame = &taken->message.event.frame;
    if (agent->held_count == AGENT_MAX_CREDITS || find_slot(agent, frame->slot) == NULL) {
        agent_close_fds(taken->fds, 4);
        return agent_end(agent, "the producer sent frame %llu where there can be none",
                         (unsigned long long)frame->frame);
    }
    frame->acquire_fence = taken->fds[0];
    agent->held[agent->held_count++] = (struct agent_held){frame->frame, frame->acquire_fence};
    return 1;
}

static struct agent_held* find_held(struct stepscope_agent* agent, uint64_t frame) {
    for (size_t index = 0; index < agent->held_count; ++index) {
        if (agent->held[index].frame == frame) {
            return &agent->held[index];
        }
    }
    return NULL;
}

void agent_free_frames(struct stepscope_agent* agent) {
    for (size_t index = 0; index < agent->held_count; ++index) {
        agent_close_fds(&agent->held[index].fence, 1);
    }
    while (agent->slots != NULL) {
        struct agent_slot* next = agent->slots->next;
        free_slot(agent->slots);
        agent->slots = next;
    }
}

int stepscope_agent_wait(struct stepscope_agent* agent, uint64_t frame, int timeout_ms) {
    const struct agent_held* held = find_held(agent, frame);
    if (held == NULL) {
        return agent_fail(agent, "frame %llu is not held", (unsigned long long)frame);
    }
    if (held->fence < 0) {
        return 1;
    }
    const int ready =
        agent_wait_for(held->fence, POLLIN, timeout_ms < 0 ? -1 : agent_now_ms() + timeout_ms);
    return ready >= 0 ? ready
                      : agent_fail(agent, "can't wait for the fence of frame %llu: %s",
                                   (unsigned long long)frame, strerror(errno));
}

const void* stepscope_agent_map(struct stepscope_agent* agent, uint32_t number) {
    struct agent_slot* slot = find_slot(agent, number);
    if (slot == NULL) {
        agent_fail(agent, "there is no slot %u", number);
        return NULL;
    }
    const uint32_t file = slot->facts.plane[0].file;
    const uint64_t offset = slot->facts.plane[0].offset;
    if (slot->mapping == NULL) {
        const off_t size = lseek(slot->facts.fds[file], 0, SEEK_END);
        const uint64_t rows = (uint64_t)slot->facts.plane[0].stride * slot->height;
        /* Not the sum: the offset may be anything. */
        if (size < 0 || offset > (uint64_t)size || rows > (uint64_t)size - offset) {
            agent_fail(agent, "slot %u needs %llu bytes from byte %llu on, its memory has %lld",
                       number, (unsigned long long)rows, (unsigned long long)offset,
                       (long long)size);
            return NULL;
        }
        /* A file that can shrink could kill this process with SIGBUS at any read. */
        const int seals = slot->memory == STEPSCOPE_AGENT_MEMFD
                              ? fcntl(slot->facts.fds[file], F_GET_SEALS)
                              : F_SEAL_SHRINK;
        if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
            agent_fail(agent, "the memory of slot %u is not sealed against shrinking", number);
            return NULL;
        }
        void* mapping = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, slot->facts.fds[file], 0);
        if (mapping == MAP_FAILED) {
            agent_fail(agent, "slot %u can't be mapped: %s", number, strerror(errno));
            return NULL;
        }
        slot->mapping = mapping;
        slot->mapped = (size_t)size;
    }
    return (const unsigned char*)slot->mapping + offset;
}

static int sync_slot(struct stepscope_agent* agent, uint32_t number, uint64_t flags) {
    struct agent_slot* slot = find_slot(agent, number);
    if (slot == NULL) {
        return agent_fail(agent, "there is no slot %u", number);
    }
    struct dma_buf_sync sync = {.flags = flags | DMA_BUF_SYNC_READ};
    for (size_t index = 0; slot->memory == STEPSCOPE_AGENT_DMABUF && index < slot->facts.files;
         ++index) {
        int result = 0;
        do {
            result = ioctl(slot->facts.fds[index], DMA_BUF_IOCTL_SYNC, &sync);
        } while (result < 0 && (errno == EINTR || errno == EAGAIN));
        if (result < 0) {
            return agent_fail(agent, "can't prepare slot %u for reading: %s", number,
                              strerror(errno));
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
    struct agent_held* held = find_held(agent, frame);
    if (held == NULL) {
        return agent_fail(agent, "frame %llu is not held", (unsigned long long)frame);
    }
    agent_close_fds(&held->fence, 1);
    *held = agent->held[--agent->held_count];
    if (fence < 0) {
        agent_put_credits(agent_outgoing(agent), 1);
        agent_put_release(agent_outgoing(agent), frame, 0);
        /* Where steps are taken it leaves with the next one. */
        return agent->sequence > 0 ? 0 : agent_flush(agent);
    }
    if (agent_flush(agent) < 0) {
        return -1;
    }
    struct agent_packet packet;
    agent_packet_init(&packet);
    agent_put_credits(&packet, 1);
    agent_put_release(&packet, frame, 1);
    return agent_send(agent, &packet, fence);
}
