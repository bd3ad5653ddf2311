// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/stepscope/stepscope.h>

#include <catch2/catch_test_macros.hpp>
#include <optional>
#include <vector>

#include "source_pipeline.hpp"

namespace stepscope::test {

// Answers to a step, as the protocol numbers them, and a reason of a frame.
inline constexpr uint32_t kPresented = 1;
inline constexpr uint32_t kNoCommit = 2;
inline constexpr uint32_t kExited = 3;
inline constexpr uint32_t kCrashed = 4;
inline constexpr uint32_t kTimeout = 5;
inline constexpr uint32_t kNoWindow = 7;

/** A fake session in lock-step whose game shows what `pictures` says, step by step; -1: nothing. */
class SteppedSession {
public:
    explicit SteppedSession(std::vector<int> pictures = {}) {
        fake.run([&] {
            fake.lockstep = true;
            if (!pictures.empty()) {
                fake.play_step = [this, pictures] { return play(pictures); };
            }
        });
    }

    /** Every step shows a picture. */
    void play_always() {
        fake.run([&] { fake.play_step = [] { return FakeFrame{.pixel = 1}; }; });
    }

    // Without `pictures`:
    void wait_until_open() {
        REQUIRE(fake.wait_until([&] { return fake.step_open(); }));
    }
    /** Answers the next step, once it is there, with a picture that is sent before. */
    void show(int pixel, uint32_t status = kPresented) {
        wait_until_open();
        fake.run([&] {
            fake.send_frame({.pixel = pixel});
            fake.answer_step(status);
        });
    }

    FakeCompositor fake;

private:
    std::optional<FakeFrame> play(const std::vector<int>& pictures) {
        const size_t step = fake.steps().size() - 1;
        const int pixel = step < pictures.size() ? pictures[step] : int(step);
        return pixel < 0 ? std::nullopt : std::optional(FakeFrame{.pixel = pixel});
    }
};

inline bool is_gap(const GstPtr<GstBuffer>& buffer) {
    return GST_BUFFER_FLAG_IS_SET(buffer.get(), GST_BUFFER_FLAG_GAP);
}

inline const GstStepscopeFrameMeta& meta_of(const GstPtr<GstBuffer>& buffer) {
    return *gst_buffer_get_stepscope_frame_meta(buffer.get());
}

}  // namespace stepscope::test
