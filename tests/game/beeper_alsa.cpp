// SPDX-License-Identifier: LGPL-2.1-or-later
#include <alsa/asoundlib.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <thread>
#include <vector>

#include "beeper.hpp"

namespace stepscope::testgame {
namespace {

constexpr int64_t kRate = 48000;
constexpr int64_t kTone = 1000;  // Hz
constexpr int16_t kLoudness = 16000;
constexpr unsigned kLatencyUs = 40'000;
constexpr size_t kChunk = 480;  // frames

class AlsaBeeper final : public Beeper {
public:
    ~AlsaBeeper() override {
        ending_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
        if (pcm_ != nullptr) {
            snd_pcm_close(pcm_);
        }
    }

    bool open() {
        if (snd_pcm_open(&pcm_, "default", SND_PCM_STREAM_PLAYBACK, 0) < 0) {
            pcm_ = nullptr;
            return false;
        }
        if (snd_pcm_set_params(pcm_, SND_PCM_FORMAT_S16, SND_PCM_ACCESS_RW_INTERLEAVED, 2, kRate, 1,
                               kLatencyUs) < 0) {
            return false;
        }
        thread_ = std::thread([this] { play(); });
        return true;
    }

private:
    // The device's frames and the clock's seconds begin together: frame n is heard n / kRate
    // seconds after the clock's beginning.
    void play() {
        std::vector<int16_t> chunk(2 * kChunk);
        while (!ending_) {
            snd_pcm_sframes_t delay = 0;
            const bool plays =
                snd_pcm_state(pcm_) == SND_PCM_STATE_RUNNING && snd_pcm_delay(pcm_, &delay) == 0;
            // The device is woken at the last nanosecond before a frame.
            const int64_t now_ns =
                std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch())
                    .count() +
                1;
            const int64_t first =
                now_ns / 1'000'000'000 * kRate + now_ns % 1'000'000'000 * kRate / 1'000'000'000;
            for (size_t i = 0; i < kChunk; ++i) {
                const int64_t frame = first + delay + static_cast<int64_t>(i);
                const bool loud = plays && frame % kRate * 1000 / kRate < kBeepLength.count();
                const double phase = static_cast<double>(frame % (kRate / kTone)) * kTone / kRate;
                // From its first sample on: a cosine.
                chunk[2 * i] = chunk[2 * i + 1] =
                    loud ? static_cast<int16_t>(kLoudness * std::cos(2 * std::numbers::pi * phase))
                         : int16_t{0};
            }
            if (const auto written = snd_pcm_writei(pcm_, chunk.data(), kChunk); written < 0) {
                snd_pcm_recover(pcm_, static_cast<int>(written), 1);
            }
        }
    }

    snd_pcm_t* pcm_ = nullptr;
    std::atomic<bool> ending_ = false;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<Beeper> Beeper::start_alsa() {
    auto beeper = std::make_unique<AlsaBeeper>();
    return beeper->open() ? std::move(beeper) : nullptr;
}

}  // namespace stepscope::testgame
