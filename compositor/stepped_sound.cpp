// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stepped_sound.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <format>
#include <fstream>
#include <limits>
#include <new>
#include <utility>

#include "clock_library.hpp"
#include "log.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDevice = "libasound_module_pcm_stepscope.so";
constexpr size_t kHistorySize = sound::kFrames * sound::kChannels * sizeof(int16_t);

uint32_t high(uint64_t value) {
    return static_cast<uint32_t>(value >> 32);
}
uint32_t low(uint64_t value) {
    return static_cast<uint32_t>(value);
}

int16_t clipped(int32_t sum) {
    using Limits = std::numeric_limits<int16_t>;
    return static_cast<int16_t>(std::clamp<int32_t>(sum, Limits::min(), Limits::max()));
}

}  // namespace

Result<SealedMemory> SealedMemory::create(const char* name, size_t size) {
    SealedMemory memory;
    memory.fd_.reset(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.fd_ || ::ftruncate(memory.fd_.get(), static_cast<off_t>(size)) < 0 ||
        ::fcntl(memory.fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        return fail_errno(std::format("can't make {} bytes of shared memory", size));
    }
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd_.get(), 0);
    if (data == MAP_FAILED) {
        return fail_errno(std::format("can't map {} bytes of shared memory", size));
    }
    memory.data_ = data;
    memory.size_ = size;
    return memory;
}

SealedMemory::SealedMemory(SealedMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SealedMemory& SealedMemory::operator=(SealedMemory&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

SealedMemory::~SealedMemory() {
    if (data_ != nullptr) {
        ::munmap(data_, size_);
    }
}

Result<void> SealedMemory::forbid_writing() {
    if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
        return fail_errno("can't protect shared memory against writing");
    }
    return {};
}

Result<std::string> find_sound_device() {
    auto library = find_clock_library();
    if (!library) {
        return library;
    }
    const fs::path path = fs::path(*library).parent_path() / kDevice;
    std::error_code error;
    if (!fs::exists(path, error)) {
        return fail(Fault::not_found,
                    std::format("--audio session with --lockstep needs '{}', which is not there: "
                                "this build has no ALSA; use another --audio",
                                path.string()));
    }
    return path.string();
}

const struct stepscope_sound_v1_interface SteppedSound::kRequests{
    .destroy = [](wl_client*, wl_resource* resource) { wl_resource_destroy(resource); },
    .taken = handle_taken,
};

Result<std::unique_ptr<SteppedSound>> SteppedSound::create(const std::string& configuration) {
    auto page = SealedMemory::create("stepscope-sound-page", sizeof(sound::Page));
    if (!page) {
        return std::unexpected(page.error());
    }
    auto history = SealedMemory::create("stepscope-sound", kHistorySize);
    if (!history) {
        return std::unexpected(history.error());
    }
    if (auto sealed = history->forbid_writing(); !sealed) {
        return std::unexpected(sealed.error());
    }
    std::unique_ptr<SteppedSound> sound(
        new SteppedSound(configuration, std::move(*page), std::move(*history)));
    if (auto written = sound->write_configuration(); !written) {
        return std::unexpected(written.error());
    }
    return sound;
}

SteppedSound::SteppedSound(std::string configuration, SealedMemory page, SealedMemory history)
    : configuration_(std::move(configuration)),
      page_(std::move(page)),
      history_(std::move(history)) {
    // The memory is zero, which is what the samples begin with.
    sound::Page& shared = this->page();
    shared.magic = sound::kMagic;
    shared.version = sound::kVersion;
    shared.size = sizeof(sound::Page);
}

SteppedSound::~SteppedSound() {
    for (Capture& capture : captures_) {
        wl_resource_set_user_data(capture.resource, nullptr);
    }
}

std::span<int16_t> SteppedSound::history() const {
    return {static_cast<int16_t*>(history_.data()), sound::kFrames * sound::kChannels};
}

// The system's configuration stays out: its devices live in real time.
Result<void> SteppedSound::write_configuration() const {
    auto device = find_sound_device();
    if (!device) {
        return std::unexpected(device.error());
    }
    std::ofstream file(configuration_);
    file << std::format(R"(pcm_type.stepscope {{ lib "{}" }}
pcm.stepscope {{ type stepscope memory "/proc/{}/fd/{}" }}
pcm.plug {{
    @args [ SLAVE ]
    @args.SLAVE {{ type string }}
    type plug
    slave.pcm $SLAVE
}}
pcm.null {{ type null }}
)",
                        *device, ::getpid(), page_.fd());
    for (const char* name : {"default", "sysdefault", "front", "surround21", "surround40",
                             "surround41", "surround50", "surround51", "surround71"}) {
        file << std::format(
            "pcm.{} {{ type plug slave.pcm stepscope hint {{ show on description \"The session's "
            "sound, in virtual time\" }} }}\n",
            name);
    }
    if (!file.flush()) {
        return fail_errno(std::format("can't write '{}'", configuration_));
    }
    return {};
}

void SteppedSound::set_origin(int64_t monotonic_ns) {
    page().origin_ns.store(monotonic_ns, std::memory_order_relaxed);
}

void SteppedSound::handle_step_end(int64_t now_ns) {
    const uint64_t until = sound::frame_at(static_cast<uint64_t>(std::max<int64_t>(now_ns, 0)));
    sound::Page& shared = page();
    const std::span<int16_t> samples = history();
    for (uint64_t frame = end_; frame < until; ++frame) {
        // A step that is longer than the page: the rest of it found no room there.
        const bool there = frame - end_ < sound::kFrames;
        for (uint32_t channel = 0; channel < sound::kChannels; ++channel) {
            int32_t sum = 0;
            if (there) {
                auto& mixed = shared.samples[frame % sound::kFrames][channel];
                sum = mixed.load(std::memory_order_relaxed);
                if (sum != 0) {
                    mixed.store(0, std::memory_order_relaxed);
                }
            }
            samples[frame % sound::kFrames * sound::kChannels + channel] = clipped(sum);
        }
    }
    end_ = std::max(end_, until);
    shared.taken.store(end_, std::memory_order_relaxed);
    if (const uint64_t lost = shared.lost.load(std::memory_order_relaxed);
        lost != 0 && std::exchange(told_lost_, lost) == 0) {
        log("sound was lost: a step may be {} s long at most for all of it",
            sound::kFrames / sound::kRate);
    }
    for (Capture& capture : captures_) {
        offer(capture);
    }
}

void SteppedSound::create_capture(wl_client* client, uint32_t version, uint32_t id) {
    wl_resource* resource =
        wl_resource_create(client, &stepscope_sound_v1_interface, static_cast<int>(version), id);
    if (resource == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    captures_.push_back({.resource = resource, .owner = this, .taken = end_, .offered = end_});
    wl_resource_set_implementation(resource, &kRequests, &captures_.back(), [](wl_resource* gone) {
        if (auto* capture = static_cast<Capture*>(wl_resource_get_user_data(gone))) {
            capture->owner->captures_.remove_if(
                [gone](const Capture& other) { return other.resource == gone; });
        }
    });
    stepscope_sound_v1_send_memory(resource, history_.fd(), sound::kFrames, sound::kRate,
                                   sound::kChannels, high(end_), low(end_));
}

void SteppedSound::offer(Capture& capture) const {
    if (capture.offered != capture.taken || end_ == capture.taken) {
        return;
    }
    // What is older than the memory was written over.
    const uint64_t begin =
        std::max(capture.taken, end_ > sound::kFrames ? end_ - sound::kFrames : 0);
    capture.offered = end_;
    stepscope_sound_v1_send_samples(capture.resource, high(begin), low(begin),
                                    static_cast<uint32_t>(end_ - begin));
}

void SteppedSound::handle_taken(wl_client* /*client*/, wl_resource* resource, uint32_t end_hi,
                                uint32_t end_lo) {
    auto* capture = static_cast<Capture*>(wl_resource_get_user_data(resource));
    if (capture == nullptr) {
        return;
    }
    const uint64_t end = uint64_t{end_hi} << 32 | end_lo;
    if (end != capture->offered || end == capture->taken) {
        wl_resource_post_error(resource, STEPSCOPE_SOUND_V1_ERROR_INVALID_POSITION,
                               "taken up to %llu; the samples offered end at %llu",
                               static_cast<unsigned long long>(end),
                               static_cast<unsigned long long>(capture->offered));
        return;
    }
    capture->taken = end;
    capture->owner->offer(*capture);
}

}  // namespace stepscope
