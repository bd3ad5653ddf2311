// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

struct wl_array;
struct wl_surface;
struct zwp_linux_dmabuf_feedback_v1;
struct zwp_linux_dmabuf_v1;

namespace stepscope::testgame {

struct FeedbackFormat {
    uint32_t fourcc = 0;
    uint64_t modifier = 0;
};

struct FeedbackTranche {
    dev_t device = 0;
    bool scanout = false;
    std::vector<FeedbackFormat> formats;
};

/** What the compositor would like a surface's buffers to be. Stays where it is. */
class DmabufFeedback {
public:
    /** Asks; answers come with the display's events. */
    DmabufFeedback(zwp_linux_dmabuf_v1* dmabuf, wl_surface* surface);
    DmabufFeedback(const DmabufFeedback&) = delete;
    DmabufFeedback& operator=(const DmabufFeedback&) = delete;

    /** There is a complete answer that was not taken yet. */
    bool changed() const { return changed_; }
    void take() { changed_ = false; }
    dev_t main_device() const { return main_device_; }
    /** In the compositor's order of preference. */
    const std::vector<FeedbackTranche>& tranches() const { return tranches_; }
    /** The most preferred linear format of `drawable`; empty if there is none. */
    std::optional<uint32_t> preferred(const std::vector<uint32_t>& drawable) const;

private:
    void handle_table(int fd, uint32_t size);
    void handle_formats(const wl_array* indices);
    void handle_done();

    std::vector<FeedbackFormat> table_;
    dev_t main_device_ = 0;
    FeedbackTranche coming_tranche_;
    std::vector<FeedbackTranche> coming_;
    std::vector<FeedbackTranche> tranches_;
    bool changed_ = false;
};

}  // namespace stepscope::testgame
