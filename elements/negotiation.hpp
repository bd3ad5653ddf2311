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
    RefreshRate rate{0, 1};  // unless impossible
    uint32_t width = 0;
    uint32_t height = 0;
};

/** The same caps with every rate that steps can have: there is one, and a step is an hour at most.
 */
GstPtr<GstCaps> with_step_rates(GstPtr<GstCaps> caps);

/**
 * Finds caps for `offered`, which has one size and any rate, among what the peer accepts. Where
 * the rate may be 0/1 (every commit) it becomes that, else the nearest to the session's, or to 60/1
 * if the session has none.
 */
Negotiation negotiate_caps(const GstCaps* peer, const GstCaps* offered, const RefreshRate& session);

}  // namespace stepscope
