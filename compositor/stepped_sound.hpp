// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>

#include "base/error.hpp"
#include "base/sound_page.hpp"
#include "base/unique_fd.hpp"
#include "stepscope-control-v1-server-protocol.h"

namespace stepscope {

/** A shared mapping of a memfd that can be neither shrunk nor grown. */
class SealedMemory {
public:
    static Result<SealedMemory> create(const char* name, size_t size);
    SealedMemory() = default;
    SealedMemory(SealedMemory&& other) noexcept;
    SealedMemory& operator=(SealedMemory&& other) noexcept;
    ~SealedMemory();

    int fd() const { return fd_.get(); }
    void* data() const { return data_; }
    size_t size() const { return size_; }
    /** From here on nobody but this mapping can write. */
    Result<void> forbid_writing();

private:
    UniqueFd fd_;
    void* data_ = nullptr;
    size_t size_ = 0;
};

/**
 * The sound of a session in lock-step: the game's sound devices mix it by virtual time into a page
 * of shared memory; after each step, what that step sounded like is taken from there and offered to
 * consumers. All of it on the compositor's thread.
 */
class SteppedSound {
public:
    /** Writes ALSA's configuration for the game there: one device, which is the session's. */
    static Result<std::unique_ptr<SteppedSound>> create(const std::string& configuration);
    SteppedSound(const SteppedSound&) = delete;
    SteppedSound& operator=(const SteppedSound&) = delete;
    ~SteppedSound();

    /** Path of the configuration that the game needs. */
    const std::string& configuration() const { return configuration_; }

    /** CLOCK_MONOTONIC, as the game reads it, at virtual time 0. Before the game starts. */
    void set_origin(int64_t monotonic_ns);
    /** A step came to its end at this virtual time: nothing of the game runs. */
    void handle_step_end(int64_t now_ns);

    /** Gives a consumer its stepscope_sound_v1. */
    void create_capture(wl_client* client, uint32_t version, uint32_t id);

private:
    /** A consumer: told of the next samples once it has taken those before. */
    struct Capture {
        wl_resource* resource;
        SteppedSound* owner;
        uint64_t taken;    // frames before this one are done with
        uint64_t offered;  // …or were told of
    };

    SteppedSound(std::string configuration, SealedMemory page, SealedMemory history);
    Result<void> write_configuration() const;
    static void handle_taken(wl_client* client, wl_resource* resource, uint32_t end_hi,
                             uint32_t end_lo);
    static const struct stepscope_sound_v1_interface kRequests;

    sound::Page& page() const { return *static_cast<sound::Page*>(page_.data()); }
    std::span<int16_t> history() const;
    void offer(Capture& capture) const;

    std::string configuration_;
    SealedMemory page_;
    SealedMemory history_;  // what was taken: frame n at n % kFrames
    uint64_t end_ = 0;      // of that
    uint64_t told_lost_ = 0;
    std::list<Capture> captures_;
};

/** Path of the ALSA plugin that games in lock-step play to. */
Result<std::string> find_sound_device();

}  // namespace stepscope
