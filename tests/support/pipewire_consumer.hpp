// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pipewire/pipewire.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

struct spa_meta_header;
struct spa_meta_sync_timeline;

namespace stepscope::testing {

/** What a consumer tells PipeWire that it can do. */
struct ConsumerAbilities {
    std::string name = "consumer";
    /** Empty: no DMA-BUFs. */
    std::vector<uint64_t> modifiers;
    bool shared_memory = true;
    bool timelines = false;
    /** Of PipeWire 1.6: says whether it will release what it got. */
    bool release = false;
    uint32_t width = 0;  // 0: as it comes
    uint32_t height = 0;
    /** Metadata beside the header. */
    bool damage = false;
    bool crop = false;
    bool cursor = false;
    /** Pictures come when it asks for them alone, see pull(). */
    bool requests = false;
};

/**
 * A consumer of a PipeWire video node that links itself: no session manager is needed. Does all of
 * its work in next() and in run(), on the caller's thread.
 */
class PipewireConsumer {
public:
    PipewireConsumer(const std::string& node, const ConsumerAbilities& abilities);
    PipewireConsumer(const PipewireConsumer&) = delete;
    PipewireConsumer& operator=(const PipewireConsumer&) = delete;
    ~PipewireConsumer();

    /** The next picture; null, with the reason in error(), after a minute. */
    pw_buffer* next();
    /** Asks for a picture and waits for one; null after a minute. */
    pw_buffer* pull();
    void give_back(pw_buffer* buffer);
    /** Lets PipeWire work until `done`, at most a minute. */
    bool run(const std::function<bool()>& done);
    const std::string& error() const { return error_; }

    uint32_t width() const { return width_; }
    uint32_t height() const { return height_; }
    /** Of the agreed format; none for shared memory. */
    std::optional<uint64_t> modifier() const { return modifier_; }
    /** Formats that PipeWire came with, in all. */
    unsigned formats() const { return formats_; }
    /** How often the buffers were made. */
    unsigned pools() const { return pools_; }

private:
    struct Impl;

    void handle_format(const spa_pod* format);

    ConsumerAbilities abilities_;
    std::string error_ = "no picture in time";
    uint32_t width_ = 0;
    uint32_t height_ = 0;
    std::optional<uint64_t> modifier_;
    unsigned formats_ = 0;
    unsigned pools_ = 0;
    std::unique_ptr<Impl> impl_;
};

/** Links the ports of two nodes once both have some: no session manager is needed. */
class PipewireLink {
public:
    PipewireLink(const std::string& from, const std::string& to);
    PipewireLink(const PipewireLink&) = delete;
    PipewireLink& operator=(const PipewireLink&) = delete;
    ~PipewireLink();

    /** False if a node did not come within a minute. */
    bool made() const { return made_; }

private:
    struct Impl;

    std::unique_ptr<Impl> impl_;
    bool made_;
};

spa_meta_header* header_of(const pw_buffer* buffer);
/** Null where no timelines were agreed on. */
spa_meta_sync_timeline* sync_points_of(const pw_buffer* buffer);

}  // namespace stepscope::testing
