// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/refresh_rate.hpp"
#include "gst/picture_caps.hpp"

namespace stepscope {

/** What to do about what downstream accepts. */
struct Negotiation {
    enum class Outcome {
        agreed,      // `caps` are fixed and describe the frames as they are
        other_size,  // downstream wants frames of `width` × `height` pixels
        impossible,  // it can't be had at any size
    };
    Outcome outcome = Outcome::impossible;
    GstPtr<GstCaps> caps;
    uint32_t width = 0;
    uint32_t height = 0;
};

/**
 * Finds caps for `offered`, which has one size and any rate, among what the peer accepts. Where the
 * peer leaves the rate open it becomes 0/1 (every commit); where it demands one within a range,
 * the nearest to the session's.
 */
Negotiation negotiate_caps(const GstCaps* peer, const GstCaps* offered, const RefreshRate& session);

}  // namespace stepscope
