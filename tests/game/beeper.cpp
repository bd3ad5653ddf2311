// SPDX-License-Identifier: LGPL-2.1-or-later
#include "beeper.hpp"

#include <pipewire/pipewire.h>
#include <spa/param/audio/format-utils.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace stepscope::testgame {
namespace {

constexpr uint32_t kRate = 48000;
constexpr double kTone = 1000;  // Hz
constexpr float kLoudness = 0.5F;

class PipewireBeeper final : public Beeper {
public:
    explicit PipewireBeeper(std::chrono::steady_clock::time_point start)
        : start_ns_(std::chrono::nanoseconds(start.time_since_epoch()).count()) {
        pw_init(nullptr, nullptr);
    }
    ~PipewireBeeper() override {
        if (loop_ != nullptr) {
            pw_thread_loop_stop(loop_);
        }
        if (stream_ != nullptr) {
            pw_stream_destroy(stream_);
        }
        if (loop_ != nullptr) {
            pw_thread_loop_destroy(loop_);
        }
        pw_deinit();
    }

    bool open() {
        static const pw_stream_events kEvents{
            .version = PW_VERSION_STREAM_EVENTS,
            .process = handle_process,
        };
        loop_ = pw_thread_loop_new("beeper", nullptr);
        if (loop_ == nullptr) {
            return false;
        }
        stream_ = pw_stream_new_simple(
            pw_thread_loop_get_loop(loop_), "beep",
            pw_properties_new(PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Playback",
                              PW_KEY_MEDIA_ROLE, "Game", PW_KEY_NODE_LATENCY, "512/48000", nullptr),
            &kEvents, this);
        if (stream_ == nullptr) {
            return false;
        }
        uint8_t memory[1024];
        spa_pod_builder builder{};
        builder.data = memory;
        builder.size = sizeof(memory);
        spa_audio_info_raw format{};
        format.format = SPA_AUDIO_FORMAT_F32;
        format.rate = kRate;
        format.channels = 2;
        format.position[0] = SPA_AUDIO_CHANNEL_FL;
        format.position[1] = SPA_AUDIO_CHANNEL_FR;
        const spa_pod* parameter =
            spa_format_audio_raw_build(&builder, SPA_PARAM_EnumFormat, &format);
        const auto flags = static_cast<pw_stream_flags>(
            PW_STREAM_FLAG_AUTOCONNECT | PW_STREAM_FLAG_MAP_BUFFERS | PW_STREAM_FLAG_RT_PROCESS);
        return pw_stream_connect(stream_, PW_DIRECTION_OUTPUT, PW_ID_ANY, flags, &parameter, 1) >=
                   0 &&
               pw_thread_loop_start(loop_) >= 0;
    }

private:
    // What is written now is heard from the begin of this cycle on.
    static void handle_process(void* data) {
        auto* self = static_cast<PipewireBeeper*>(data);
        pw_buffer* buffer = pw_stream_dequeue_buffer(self->stream_);
        if (buffer == nullptr) {
            return;
        }
        spa_data& target = buffer->buffer->datas[0];
        constexpr uint32_t kStride = 2 * sizeof(float);
        uint32_t frames = target.maxsize / kStride;
        if (buffer->requested != 0) {
            frames = std::min(frames, static_cast<uint32_t>(buffer->requested));
        }
        pw_time time{};
        pw_stream_get_time_n(self->stream_, &time, sizeof(time));
        auto* samples = static_cast<float*>(target.data);
        for (uint32_t i = 0; samples != nullptr && i < frames; ++i) {
            const int64_t at_ns = time.now + int64_t{i} * 1'000'000'000 / kRate - self->start_ns_;
            const double phase = static_cast<double>(at_ns) * 1e-9 * kTone * 2 * std::numbers::pi;
            const float value = beeping(std::chrono::nanoseconds(at_ns))
                                    ? kLoudness * static_cast<float>(std::sin(phase))
                                    : 0.0F;
            *samples++ = value;
            *samples++ = value;
        }
        target.chunk->offset = 0;
        target.chunk->stride = kStride;
        target.chunk->size = frames * kStride;
        pw_stream_queue_buffer(self->stream_, buffer);
    }

    int64_t start_ns_;
    pw_thread_loop* loop_ = nullptr;
    pw_stream* stream_ = nullptr;
};

}  // namespace

std::unique_ptr<Beeper> Beeper::start(std::chrono::steady_clock::time_point start) {
    auto beeper = std::make_unique<PipewireBeeper>(start);
    return beeper->open() ? std::move(beeper) : nullptr;
}

}  // namespace stepscope::testgame
