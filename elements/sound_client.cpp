// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sound_client.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <format>

#include "base/unique_fd.hpp"
#include "stepscope-control-v1-client-protocol.h"

namespace stepscope {
namespace {

constexpr uint32_t kMostChannels = 8;
constexpr uint32_t kHighestRate = 384'000;
constexpr uint32_t kMostFrames = uint32_t{1} << 26;

uint64_t joined(uint32_t high, uint32_t low) {
    return uint64_t{high} << 32 | low;
}

}  // namespace

struct SoundClient::Listeners {
    static SoundClient& self(void* data) { return *static_cast<SoundClient*>(data); }

    static void memory(void* data, stepscope_sound_v1*, int32_t raw_fd, uint32_t frames,
                       uint32_t rate, uint32_t channels, uint32_t begin_hi, uint32_t begin_lo) {
        SoundClient& client = self(data);
        const UniqueFd fd(raw_fd);
        struct stat status{};
        const size_t size = size_t{frames} * channels * sizeof(int16_t);
        void* memory = MAP_FAILED;
        if (client.memory_ == nullptr && frames > 0 && frames <= kMostFrames && channels > 0 &&
            channels <= kMostChannels && rate > 0 && rate <= kHighestRate &&
            ::fstat(fd.get(), &status) == 0 && static_cast<size_t>(status.st_size) >= size) {
            memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
        }
        if (memory == MAP_FAILED) {
            client.control_->fail_with(
                {Fault::protocol,
                 std::format("the compositor of session '{}' offered sound of {} channels at {} Hz "
                             "in memory for {} frames, which can't be",
                             client.control_->name(), channels, rate, frames),
                 0});
            return;
        }
        client.memory_ = static_cast<const int16_t*>(memory);
        client.size_ = size;
        client.frames_ = frames;
        client.rate_ = rate;
        client.channels_ = channels;
        client.begin_ = client.end_ = joined(begin_hi, begin_lo);
    }

    static void samples(void* data, stepscope_sound_v1*, uint32_t begin_hi, uint32_t begin_lo,
                        uint32_t count) {
        SoundClient& client = self(data);
        const Samples samples{joined(begin_hi, begin_lo), count};
        if (client.available_ || client.memory_ == nullptr || count == 0 ||
            count > client.frames_ || samples.begin < client.end_) {
            client.control_->fail_with(
                {Fault::protocol,
                 std::format("the compositor of session '{}' offered {} frames of sound from {} "
                             "on, after those up to {}",
                             client.control_->name(), count, samples.begin, client.end_),
                 0});
            return;
        }
        client.available_ = samples;
        client.end_ = samples.begin + count;
    }

    static constexpr stepscope_sound_v1_listener sound{memory, samples};
};

SoundClient::SoundClient(std::shared_ptr<ControlClient> control, stepscope_sound_v1* sound)
    : control_(std::move(control)), sound_(sound) {
    stepscope_sound_v1_add_listener(sound_, &Listeners::sound, this);
}

SoundClient::~SoundClient() {
    stepscope_sound_v1_destroy(sound_);
    control_->flush();
    if (memory_ != nullptr) {
        ::munmap(const_cast<int16_t*>(memory_), size_);
    }
}

Result<std::unique_ptr<SoundClient>> SoundClient::create(
    const std::shared_ptr<ControlClient>& control, std::chrono::milliseconds timeout) {
    auto sound = control->create_sound();
    if (!sound) {
        return std::unexpected(sound.error());
    }
    std::unique_ptr<SoundClient> client(new SoundClient(control, *sound));
    if (auto agreed = control->roundtrip(timeout); !agreed) {
        return std::unexpected(agreed.error());
    }
    if (client->memory_ == nullptr) {
        return fail(Fault::protocol,
                    std::format("session '{}' did not describe its sound", control->name()));
    }
    return client;
}

void SoundClient::copy(uint64_t begin, uint32_t count, int16_t* target) const {
    const auto place = static_cast<uint32_t>(begin % frames_);
    const uint32_t first = std::min(count, frames_ - place);
    const size_t stride = channels_ * sizeof(int16_t);
    std::memcpy(target, memory_ + size_t{place} * channels_, first * stride);
    std::memcpy(target + size_t{first} * channels_, memory_, (count - first) * stride);
}

void SoundClient::take() {
    available_.reset();
    stepscope_sound_v1_taken(sound_, static_cast<uint32_t>(end_ >> 32),
                             static_cast<uint32_t>(end_));
    control_->flush();
}

}  // namespace stepscope
