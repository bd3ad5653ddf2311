// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <spa/pod/builder.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/refresh_rate.hpp"

namespace stepscope {

/** What the session can give to PipeWire consumers. */
struct VideoOffer {
    /** Format of the pictures as they are: only these reach consumers without a copy. 0 if they
     * are of another size. */
    uint32_t native = 0;
    uint32_t width = 0;
    uint32_t height = 0;
    /** For native pictures that are DMA-BUFs, best first; empty for memfd. */
    std::vector<uint64_t> modifiers;
    /** Further formats that can be drawn, in this size or in any. */
    std::vector<uint32_t> drawable;
    /** DMA-BUFs that we can draw into; empty where we have none. */
    std::vector<uint64_t> drawable_modifiers;
    bool any_size = true;
    RefreshRate rate{};
    /** Not faster than that, whatever consumers ask for. */
    std::optional<RefreshRate> limit;

    bool operator==(const VideoOffer&) const = default;
};

/** What was negotiated. */
struct VideoFormat {
    uint32_t fourcc = 0;
    uint32_t width = 0;
    uint32_t height = 0;
    /** Set where the buffers are DMA-BUFs. */
    std::optional<uint64_t> modifier;
    /** Not empty: the consumer leaves the choice among these to us; announce the chosen one. */
    std::vector<uint64_t> choices;
    /** Most frames per second that the consumer wants; 0/1: as many as there are. */
    RefreshRate limit{0, 1};

    bool operator==(const VideoFormat&) const = default;
};

/** SPA objects and the memory that they are in. */
class Pods {
public:
    spa_pod_builder& builder();
    /** Takes what was built since the last call. */
    void add(const void* pod) { pods_.push_back(static_cast<const spa_pod*>(pod)); }
    const spa_pod** data() { return pods_.data(); }
    uint32_t size() const { return static_cast<uint32_t>(pods_.size()); }

private:
    struct Storage {
        alignas(8) uint8_t bytes[2048];
        spa_pod_builder builder;
    };
    // One memory for each object: a builder that grows would move those before.
    std::deque<Storage> storage_;
    std::vector<const spa_pod*> pods_;
};

/** Format parameters, best first. A `fixed` format, with its modifier, comes before all others. */
void add_formats(Pods& pods, const VideoOffer& offer, const std::optional<VideoFormat>& fixed);

/** Reads a negotiated format; nothing if it is none of ours. */
std::optional<VideoFormat> parse_format(const spa_pod* param);

/** What the stream's buffers are to be like. */
struct BufferLayout {
    unsigned planes = 1;
    unsigned buffers = 0;
    /** Timelines for acquiring and releasing, where the consumer keeps the rules of PipeWire 1.6.
     */
    bool timelines = false;
};

/** Data types and number of buffers, and the metadata that we fill in. */
void add_buffer_parameters(Pods& pods, const VideoFormat& format, const BufferLayout& layout);

}  // namespace stepscope
