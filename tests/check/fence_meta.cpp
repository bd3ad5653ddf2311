// SPDX-License-Identifier: LGPL-2.1-or-later
// The fences of a buffer: waiting, sharing, giving back. What is a sync_file elsewhere is an
// eventfd here; merging is tested where the kernel has fences.
#include <fcntl.h>
#include <gst/stepscope/stepscope.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <memory>
#include <thread>

#include "base/unique_fd.hpp"
#include "gst/gst_ptr.hpp"
#include "support/source_pipeline.hpp"

using namespace stepscope;
using namespace stepscope::test;

namespace {

using FencePtr = std::unique_ptr<GstStepscopeFence, decltype(&gst_stepscope_fence_unref)>;

FencePtr fence_of(UniqueFd fd) {
    return {gst_stepscope_fence_new(fd.take()), gst_stepscope_fence_unref};
}

UniqueFd pending() {
    return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

/** The outcome of a wait: 0, or the code of its error. */
int wait(GstStepscopeFence* fence, GstClockTime timeout, GCancellable* cancellable = nullptr) {
    GError* error = nullptr;
    if (gst_stepscope_fence_wait(fence, timeout, cancellable, &error)) {
        CHECK(error == nullptr);
        return 0;
    }
    REQUIRE(error != nullptr);
    CHECK(error->domain == G_IO_ERROR);
    const int code = error->code;
    g_error_free(error);
    return code;
}

constexpr int kNone = -1;

}  // namespace

TEST_CASE("without an acquire fence the memory may be read at once") {
    Environment environment;
    FencePtr fence = fence_of(UniqueFd());
    CHECK(gst_stepscope_fence_get_acquire_fd(fence.get()) == kNone);
    GError* error = nullptr;
    CHECK(gst_stepscope_fence_dup_acquire_fd(fence.get(), &error) == kNone);
    CHECK(error == nullptr);
    CHECK(gst_stepscope_fence_is_ready(fence.get()));
    CHECK(wait(fence.get(), 0) == 0);
}

TEST_CASE("a wait ends with the fence, with its limit, or when it is cancelled") {
    Environment environment;
    UniqueFd event = pending();
    FencePtr fence = fence_of(event.duplicate());
    CHECK_FALSE(gst_stepscope_fence_is_ready(fence.get()));
    CHECK(wait(fence.get(), 0) == G_IO_ERROR_TIMED_OUT);
    CHECK(wait(fence.get(), 5 * GST_MSECOND) == G_IO_ERROR_TIMED_OUT);

    std::unique_ptr<GCancellable, decltype(&g_object_unref)> cancellable(g_cancellable_new(),
                                                                         g_object_unref);
    std::thread canceller([&] { g_cancellable_cancel(cancellable.get()); });
    CHECK(wait(fence.get(), GST_CLOCK_TIME_NONE, cancellable.get()) == G_IO_ERROR_CANCELLED);
    canceller.join();

    std::thread signaller([&] { eventfd_write(event.get(), 1); });
    CHECK(wait(fence.get(), GST_CLOCK_TIME_NONE) == 0);
    signaller.join();
    CHECK(gst_stepscope_fence_is_ready(fence.get()));
    // A cancelled wait for a fence that is there is no wait.
    CHECK(wait(fence.get(), 0, cancellable.get()) == 0);
}

TEST_CASE("a fence owns its descriptors") {
    Environment environment;
    UniqueFd acquire = pending();
    UniqueFd release = pending();
    const int acquire_fd = acquire.get();
    const int release_fd = release.get();
    FencePtr fence = fence_of(std::move(acquire));
    const UniqueFd duplicate(gst_stepscope_fence_dup_acquire_fd(fence.get(), nullptr));
    REQUIRE(duplicate);
    CHECK(duplicate.get() != acquire_fd);
    CHECK((::fcntl(duplicate.get(), F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(gst_stepscope_fence_add_release_fd(fence.get(), release.take(), nullptr));
    GstStepscopeFence* second = gst_stepscope_fence_ref(fence.get());
    fence.reset();
    CHECK(is_open(acquire_fd));
    CHECK(is_open(release_fd));
    gst_stepscope_fence_unref(second);
    CHECK_FALSE(is_open(acquire_fd));
    CHECK_FALSE(is_open(release_fd));
    CHECK(is_open(duplicate.get()));
}

TEST_CASE("release fences are collected, without those that are over") {
    Environment environment;
    FencePtr fence = fence_of(UniqueFd());
    UniqueFd first = pending();
    UniqueFd second = pending();
    UniqueFd third = pending();
    for (const UniqueFd* added : {&first, &second}) {
        REQUIRE(
            gst_stepscope_fence_add_release_fd(fence.get(), added->duplicate().take(), nullptr));
    }
    eventfd_write(first.get(), 1);
    REQUIRE(gst_stepscope_fence_add_release_fd(fence.get(), third.duplicate().take(), nullptr));
    gsize count = 0;
    const std::unique_ptr<gint[], decltype(&g_free)> taken(
        gst_stepscope_fence_take_release_fds(fence.get(), &count), g_free);
    CHECK(count == 2);
    for (gsize i = 0; i < count; ++i) {
        ::close(taken[i]);
    }
    CHECK(gst_stepscope_fence_take_release_fds(fence.get(), &count) == nullptr);
    CHECK(count == 0);
}

TEST_CASE("a release fence that comes too late, or is none, is refused and closed") {
    Environment environment;
    FencePtr fence = fence_of(UniqueFd());
    GError* error = nullptr;
    CHECK_FALSE(gst_stepscope_fence_add_release_fd(fence.get(), -1, &error));
    REQUIRE(error != nullptr);
    CHECK(error->code == G_IO_ERROR_INVALID_ARGUMENT);
    g_clear_error(&error);
    gsize count = 0;
    CHECK(gst_stepscope_fence_take_release_fds(fence.get(), &count) == nullptr);
    const int late = pending().take();
    CHECK_FALSE(gst_stepscope_fence_add_release_fd(fence.get(), late, &error));
    REQUIRE(error != nullptr);
    CHECK(error->code == G_IO_ERROR_CLOSED);
    g_clear_error(&error);
    CHECK_FALSE(is_open(late));
}

TEST_CASE("copies that share the memory share its fences, deep copies have none") {
    Environment environment;
    FencePtr fence = fence_of(pending());
    GstPtr<GstBuffer> buffer(gst_buffer_new_allocate(nullptr, 64, nullptr));
    GstStepscopeFenceMeta* meta = gst_buffer_add_stepscope_fence_meta(buffer.get(), fence.get());
    REQUIRE(meta != nullptr);
    CHECK(meta->fence == fence.get());

    GstPtr<GstBuffer> shallow(gst_buffer_copy(buffer.get()));
    meta = gst_buffer_get_stepscope_fence_meta(shallow.get());
    REQUIRE(meta != nullptr);
    CHECK(meta->fence == fence.get());

    GstPtr<GstBuffer> part(gst_buffer_copy_region(
        buffer.get(),
        static_cast<GstBufferCopyFlags>(GST_BUFFER_COPY_MEMORY | GST_BUFFER_COPY_META), 16, 16));
    meta = gst_buffer_get_stepscope_fence_meta(part.get());
    REQUIRE(meta != nullptr);
    CHECK(meta->fence == fence.get());

    GstPtr<GstBuffer> deep(gst_buffer_copy_deep(buffer.get()));
    CHECK(gst_buffer_get_stepscope_fence_meta(deep.get()) == nullptr);

    // The meta of the copy outlives the buffer.
    const int fd = gst_stepscope_fence_get_acquire_fd(fence.get());
    fence.reset();
    buffer.reset();
    part.reset();
    CHECK(is_open(fd));
    shallow.reset();
    CHECK_FALSE(is_open(fd));
}
