// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "control_client.hpp"

struct stepscope_sound_v1;

namespace stepscope {

/**
 * The sound of a session in lock-step, from where its virtual time is when this is made. Of the
 * thread that dispatches. Samples are 16-bit, interleaved.
 */
class SoundClient {
public:
    struct Samples {
        uint64_t begin = 0;  // frames of the session
        uint32_t count = 0;
    };

    static Result<std::unique_ptr<SoundClient>> create(
        const std::shared_ptr<ControlClient>& control, std::chrono::milliseconds timeout);
    ~SoundClient();
    SoundClient(const SoundClient&) = delete;
    SoundClient& operator=(const SoundClient&) = delete;

    const ControlClient& control() const { return *control_; }
    ControlClient& control() { return *control_; }
    uint32_t rate() const { return rate_; }
    uint32_t channels() const { return channels_; }
    /** The session's frame at which this began. */
    uint64_t begin() const { return begin_; }

    /** What can be read, once it has been dispatched. */
    const std::optional<Samples>& available() const { return available_; }
    /** Copies some of what is available; `target` has room for that. */
    void copy(uint64_t begin, uint32_t count, int16_t* target) const;
    /** All that is available was read; more may come. */
    void take();

private:
    struct Listeners;

    SoundClient(std::shared_ptr<ControlClient> control, stepscope_sound_v1* sound);

    const std::shared_ptr<ControlClient> control_;
    stepscope_sound_v1* const sound_;
    const int16_t* memory_ = nullptr;
    size_t size_ = 0;      // bytes mapped
    uint32_t frames_ = 0;  // that the memory holds
    uint32_t rate_ = 0;
    uint32_t channels_ = 0;
    uint64_t begin_ = 0;
    uint64_t end_ = 0;  // of what was told of
    std::optional<Samples> available_;
};

}  // namespace stepscope
