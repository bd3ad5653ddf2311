/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stepscope-fence-meta.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/**
 * SECTION:gststepscopefencemeta
 * @title: GstStepscopeFenceMeta
 * @short_description: when a frame's memory may be read, and when it is given back
 *
 * A game hands its picture over before the GPU has finished drawing it, together with a fence that
 * signals when it has. The same is true the other way round: a consumer that reads with a GPU is
 * done with a buffer before the GPU is. #GstStepscopeFence carries both kinds of fences as file
 * descriptors that can be polled: sync_files of the Linux kernel.
 *
 * ## Life cycle
 *
 * 1. The producer makes a fence with gst_stepscope_fence_new() from what must signal before anybody
 *    reads, the acquire fence, and attaches it with gst_buffer_add_stepscope_fence_meta().
 * 2. A consumer that knows this meta says so in its answer to the allocation query:
 *
 *    |[
 *    gst_query_add_allocation_meta (query, GST_STEPSCOPE_FENCE_META_API_TYPE, NULL);
 *    ]|
 *
 *    It then gets buffers whose acquire fence may be pending and does one of these before it reads:
 *    give a duplicate of the fence to its GPU (gst_stepscope_fence_dup_acquire_fd()), poll the
 *    descriptor in its own loop (gst_stepscope_fence_get_acquire_fd()), or wait
 *    (gst_stepscope_fence_wait()).
 * 3. Where a consumer does not say so, the producer puts the fence into the DMA-BUF itself, where
 *    drivers and mappings find it, or waits before it pushes. The meta is there all the same.
 * 4. A consumer that is done with the buffer, but whose GPU is not, adds a release fence with
 *    gst_stepscope_fence_add_release_fd() *before* it gives its last reference to the buffer up.
 *    Several consumers each add theirs.
 * 5. With the last reference to the memory the producer takes what was added
 *    (gst_stepscope_fence_take_release_fds()). The memory is written to again when all of these
 * have signalled, never earlier.
 *
 * A consumer that reads with the CPU needs only step 2, and no release fence: keeping the buffer is
 * what keeps the memory.
 *
 * A fence that fails, because the work behind it failed, counts as signalled: nobody hangs.
 */

struct _GstStepscopeFence {
    gint acquire_fd; /* -1: nothing to wait for; never changes */
    gint ready;      /* atomic; the acquire fence was seen signalled */

    GMutex mutex;
    GArray* release_fds; /* of gint, owned */
    gboolean taken;
};

GType gst_stepscope_fence_get_type(void) {
    static gsize type = 0;
    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, g_boxed_type_register_static(
                                     "GstStepscopeFence", (GBoxedCopyFunc)gst_stepscope_fence_ref,
                                     (GBoxedFreeFunc)gst_stepscope_fence_unref));
    }
    return (GType)type;
}

static gboolean fail_with_errno(GError** error, int number, const gchar* what) {
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number), "%s: %s", what,
                g_strerror(number));
    return FALSE;
}

/* What poll() says of a fence: pending or not. One that can't be polled will never signal. */
static gboolean fd_is_signalled(gint fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    int count = 0;
    do {
        count = poll(&poll_fd, 1, 0);
    } while (count < 0 && errno == EINTR);
    return count > 0;
}

/**
 * gst_stepscope_fence_new:
 * @acquire_fd: a descriptor, taken over, that becomes readable when the memory may be read,
 *   usually a sync_file; -1 if it may be read now
 *
 * Returns: (transfer full): fences for one use of a memory, with no release fence yet
 *
 * Since: 0.1
 */
GstStepscopeFence* gst_stepscope_fence_new(gint acquire_fd) {
    GstStepscopeFence* fence = g_atomic_rc_box_new0(GstStepscopeFence);
    fence->acquire_fd = acquire_fd >= 0 ? acquire_fd : -1;
    fence->ready = acquire_fd < 0;
    g_mutex_init(&fence->mutex);
    fence->release_fds = g_array_new(FALSE, FALSE, sizeof(gint));
    return fence;
}

static void fence_clear(gpointer data) {
    GstStepscopeFence* fence = data;
    if (fence->acquire_fd >= 0) {
        close(fence->acquire_fd);
    }
    for (guint i = 0; i < fence->release_fds->len; ++i) {
        close(g_array_index(fence->release_fds, gint, i));
    }
    g_array_unref(fence->release_fds);
    g_mutex_clear(&fence->mutex);
}

/**
 * gst_stepscope_fence_ref:
 * @fence: fences
 *
 * Returns: (transfer full): @fence
 *
 * Since: 0.1
 */
GstStepscopeFence* gst_stepscope_fence_ref(GstStepscopeFence* fence) {
    g_return_val_if_fail(fence != NULL, NULL);

    return g_atomic_rc_box_acquire(fence);
}

/**
 * gst_stepscope_fence_unref:
 * @fence: (transfer full): fences
 *
 * Since: 0.1
 */
void gst_stepscope_fence_unref(GstStepscopeFence* fence) {
    g_return_if_fail(fence != NULL);

    g_atomic_rc_box_release_full(fence, fence_clear);
}

/**
 * gst_stepscope_fence_get_acquire_fd:
 * @fence: fences
 *
 * For a poll loop, or for an API that does not close it. The descriptor becomes readable (POLLIN)
 * when the memory may be read, and stays so.
 *
 * Returns: a descriptor that belongs to @fence; -1 if there never was anything to wait for
 *
 * Since: 0.1
 */
gint gst_stepscope_fence_get_acquire_fd(GstStepscopeFence* fence) {
    g_return_val_if_fail(fence != NULL, -1);

    return fence->acquire_fd;
}

/**
 * gst_stepscope_fence_dup_acquire_fd:
 * @fence: fences
 * @error: location for an error, or %NULL
 *
 * For an API that takes the descriptor over, as Vulkan and EGL do when they import a sync_file.
 *
 * Returns: a descriptor that the caller closes, close-on-exec; -1 with @error set if the process
 *   has no descriptors left; -1 without an error if there never was anything to wait for
 *
 * Since: 0.1
 */
gint gst_stepscope_fence_dup_acquire_fd(GstStepscopeFence* fence, GError** error) {
    g_return_val_if_fail(fence != NULL, -1);
    g_return_val_if_fail(error == NULL || *error == NULL, -1);

    if (fence->acquire_fd < 0) {
        return -1;
    }
    gint fd = fcntl(fence->acquire_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        fail_with_errno(error, errno, "can't duplicate an acquire fence");
    }
    return fd;
}

/**
 * gst_stepscope_fence_is_ready:
 * @fence: fences
 *
 * Does not block. Once %TRUE it stays so.
 *
 * Returns: whether the memory may be read
 *
 * Since: 0.1
 */
gboolean gst_stepscope_fence_is_ready(GstStepscopeFence* fence) {
    g_return_val_if_fail(fence != NULL, FALSE);

    if (!g_atomic_int_get(&fence->ready) && fd_is_signalled(fence->acquire_fd)) {
        g_atomic_int_set(&fence->ready, TRUE);
    }
    return g_atomic_int_get(&fence->ready);
}

/* Milliseconds for poll(), rounded up so that a short wait does not become a busy one. */
static gint poll_timeout(gint64 deadline_us) {
    if (deadline_us < 0) {
        return -1;
    }
    gint64 left = deadline_us - g_get_monotonic_time();
    return left <= 0 ? 0 : (gint)MIN((left + 999) / 1000, G_MAXINT);
}

static gboolean wait_for_fd(gint fd, gint64 deadline_us, GCancellable* cancellable,
                            GError** error) {
    GPollFD fds[2] = {{.fd = fd, .events = G_IO_IN}, {.fd = -1}};
    const gboolean cancellable_has_fd =
        cancellable != NULL && g_cancellable_make_pollfd(cancellable, &fds[1]);
    gint count = 0;
    do {
        count = g_poll(fds, cancellable_has_fd ? 2 : 1, poll_timeout(deadline_us));
    } while (count < 0 && errno == EINTR);
    const int number = errno;
    if (cancellable_has_fd) {
        g_cancellable_release_fd(cancellable);
    }
    if (count < 0) {
        return fail_with_errno(error, number, "can't wait for an acquire fence");
    }
    if (fds[0].revents != 0) {
        return TRUE;
    }
    if (g_cancellable_set_error_if_cancelled(cancellable, error)) {
        return FALSE;
    }
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                        "the acquire fence did not signal in time");
    return FALSE;
}

/**
 * gst_stepscope_fence_wait:
 * @fence: fences
 * @timeout: nanoseconds to wait at most; 0 only looks, %GST_CLOCK_TIME_NONE waits without limit
 * @cancellable: (nullable): ends the wait from another thread, as an element's `unlock` must
 * @error: location for an error, or %NULL
 *
 * Blocks until the memory may be read.
 *
 * Returns: %TRUE if it may be read; %FALSE with @error set to %G_IO_ERROR_TIMED_OUT,
 *   %G_IO_ERROR_CANCELLED, or what the system said
 *
 * Since: 0.1
 */
gboolean gst_stepscope_fence_wait(GstStepscopeFence* fence, GstClockTime timeout,
                                  GCancellable* cancellable, GError** error) {
    g_return_val_if_fail(fence != NULL, FALSE);
    g_return_val_if_fail(cancellable == NULL || G_IS_CANCELLABLE(cancellable), FALSE);
    g_return_val_if_fail(error == NULL || *error == NULL, FALSE);

    if (gst_stepscope_fence_is_ready(fence)) {
        return TRUE;
    }
    const gint64 deadline_us =
        timeout == GST_CLOCK_TIME_NONE
            ? -1
            : g_get_monotonic_time() + (gint64)MIN(timeout / 1000, (guint64)G_MAXINT64 / 2);
    if (!wait_for_fd(fence->acquire_fd, deadline_us, cancellable, error)) {
        return FALSE;
    }
    g_atomic_int_set(&fence->ready, TRUE);
    return TRUE;
}

/* One sync_file for two; -1 where one of them is something else that can be polled. */
static gint merge_fences(gint first, gint second) {
    struct sync_merge_data data = {.fd2 = second, .fence = -1};
    strncpy(data.name, "stepscope", sizeof(data.name) - 1);
    int result = 0;
    do {
        result = ioctl(first, SYNC_IOC_MERGE, &data);
    } while (result < 0 && (errno == EINTR || errno == EAGAIN));
    return result < 0 ? -1 : data.fence;
}

/* Forgets release fences that signalled, and merges the new one with the last of the others. */
static void keep_release_fd(GArray* fds, gint fd) {
    for (guint i = fds->len; i > 0; --i) {
        const gint known = g_array_index(fds, gint, i - 1);
        if (fd_is_signalled(known)) {
            close(known);
            g_array_remove_index_fast(fds, i - 1);
        }
    }
    if (fds->len > 0) {
        gint* last = &g_array_index(fds, gint, fds->len - 1);
        const gint merged = merge_fences(*last, fd);
        if (merged >= 0) {
            close(*last);
            close(fd);
            *last = merged;
            return;
        }
    }
    g_array_append_val(fds, fd);
}

/**
 * gst_stepscope_fence_add_release_fd:
 * @fence: fences
 * @fd: a descriptor, taken over, that becomes readable when the caller's work with the memory
 *   is done, usually a sync_file; closed in any case
 * @error: location for an error, or %NULL
 *
 * Asks the producer not to write to the memory before @fd signals. To be called while the caller
 * still has its reference to the buffer; any number of consumers may, each for itself.
 *
 * Returns: %TRUE if the producer will wait; %FALSE with @error set to %G_IO_ERROR_INVALID_ARGUMENT
 *   if @fd is no descriptor, or %G_IO_ERROR_CLOSED if the producer has taken the memory back
 *   already, which is an error of the caller
 *
 * Since: 0.1
 */
gboolean gst_stepscope_fence_add_release_fd(GstStepscopeFence* fence, gint fd, GError** error) {
    g_return_val_if_fail(fence != NULL, FALSE);
    g_return_val_if_fail(error == NULL || *error == NULL, FALSE);

    if (fd < 0 || fcntl(fd, F_GETFD) < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "expected the file descriptor of a release fence, got %d", fd);
        return FALSE;
    }
    g_mutex_lock(&fence->mutex);
    const gboolean taken = fence->taken;
    if (!taken) {
        keep_release_fd(fence->release_fds, fd);
    }
    g_mutex_unlock(&fence->mutex);
    if (taken) {
        close(fd);
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CLOSED,
                            "a release fence came after the buffer was given back; add it while "
                            "the buffer is still held");
        return FALSE;
    }
    return TRUE;
}

/**
 * gst_stepscope_fence_take_release_fds:
 * @fence: fences
 * @count: (out): how many there are
 *
 * For the producer, once nobody has the memory any more: what to wait for before it is written to
 * again. Later attempts to add a release fence fail.
 *
 * Returns: (array length=count) (transfer full) (nullable): descriptors that the caller closes, in
 *   memory to be freed with g_free(); %NULL if there are none. Mostly one: fences are merged where
 *   the kernel can
 *
 * Since: 0.1
 */
gint* gst_stepscope_fence_take_release_fds(GstStepscopeFence* fence, gsize* count) {
    g_return_val_if_fail(fence != NULL, NULL);
    g_return_val_if_fail(count != NULL, NULL);

    g_mutex_lock(&fence->mutex);
    fence->taken = TRUE;
    gpointer fds = g_array_steal(fence->release_fds, count);
    g_mutex_unlock(&fence->mutex);
    return fds;
}

GType gst_stepscope_fence_meta_api_get_type(void) {
    static gsize type = 0;
    /* Fences are of the memory: deep copies, which have memory of their own, do without. */
    static const gchar* tags[] = {GST_META_TAG_MEMORY_REFERENCE_STR, NULL};
    if (g_once_init_enter(&type)) {
        g_once_init_leave(&type, gst_meta_api_type_register("GstStepscopeFenceMetaAPI", tags));
    }
    return (GType)type;
}

static gboolean fence_meta_init(GstMeta* meta, gpointer params, GstBuffer* buffer) {
    ((GstStepscopeFenceMeta*)meta)->fence = NULL;
    return TRUE;
}

static void fence_meta_free(GstMeta* meta, GstBuffer* buffer) {
    g_clear_pointer(&((GstStepscopeFenceMeta*)meta)->fence, gst_stepscope_fence_unref);
}

static gboolean fence_meta_transform(GstBuffer* destination, GstMeta* meta, GstBuffer* source,
                                     GQuark type, gpointer data) {
    /* Scaling and converting write new memory. */
    if (!GST_META_TRANSFORM_IS_COPY(type)) {
        return FALSE;
    }
    GstStepscopeFence* fence = ((GstStepscopeFenceMeta*)meta)->fence;
    return gst_buffer_add_stepscope_fence_meta(destination, fence) != NULL;
}

/**
 * gst_stepscope_fence_meta_get_info: (skip)
 *
 * Returns: the registered implementation of #GstStepscopeFenceMeta
 *
 * Since: 0.1
 */
const GstMetaInfo* gst_stepscope_fence_meta_get_info(void) {
    static const GstMetaInfo* info = NULL;
    if (g_once_init_enter(&info)) {
        const GstMetaInfo* registered = gst_meta_register(
            GST_STEPSCOPE_FENCE_META_API_TYPE, "GstStepscopeFenceMeta",
            sizeof(GstStepscopeFenceMeta), fence_meta_init, fence_meta_free, fence_meta_transform);
        g_once_init_leave(&info, registered);
    }
    return info;
}

/**
 * gst_buffer_add_stepscope_fence_meta:
 * @buffer: (transfer none): a writable buffer
 * @fence: (transfer none): the fences of its memory; the meta takes a reference
 *
 * Returns: (transfer none): the meta, which belongs to @buffer
 *
 * Since: 0.1
 */
GstStepscopeFenceMeta* gst_buffer_add_stepscope_fence_meta(GstBuffer* buffer,
                                                           GstStepscopeFence* fence) {
    g_return_val_if_fail(GST_IS_BUFFER(buffer), NULL);
    g_return_val_if_fail(fence != NULL, NULL);

    GstStepscopeFenceMeta* meta =
        (GstStepscopeFenceMeta*)gst_buffer_add_meta(buffer, GST_STEPSCOPE_FENCE_META_INFO, NULL);
    if (meta != NULL) {
        meta->fence = gst_stepscope_fence_ref(fence);
    }
    return meta;
}

/**
 * gst_buffer_get_stepscope_fence_meta:
 * @buffer: (transfer none): a buffer
 *
 * Returns: (transfer none) (nullable): the meta, which belongs to @buffer
 *
 * Since: 0.1
 */
GstStepscopeFenceMeta* gst_buffer_get_stepscope_fence_meta(GstBuffer* buffer) {
    g_return_val_if_fail(GST_IS_BUFFER(buffer), NULL);

    return (GstStepscopeFenceMeta*)gst_buffer_get_meta(buffer, GST_STEPSCOPE_FENCE_META_API_TYPE);
}
