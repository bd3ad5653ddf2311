// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/refresh_rate.hpp"
#include "capture_stream.hpp"
#include "downstream_memory.hpp"
#include "input_action.hpp"

namespace stepscope {

/**
 * Where pictures are captured from: a Stepscope session, or an output of any other compositor.
 *
 * Methods are for the streaming thread unless they say otherwise. Memory of frames outlives the
 * source.
 */
class PictureSource {
public:
    using Clock = std::chrono::steady_clock;

    PictureSource() = default;
    PictureSource(const PictureSource&) = delete;
    PictureSource& operator=(const PictureSource&) = delete;
    virtual ~PictureSource() = default;

    /** Pictures come from now on. Once. */
    virtual void start() = 0;

    /**
     * Waits for pictures or other news, a wake() or the deadline, whichever is first. An error
     * stays: the connection is dead.
     */
    virtual Result<void> wait(std::optional<Clock::time_point> deadline) = 0;

    /** Makes the current or next wait() return. Any thread. */
    virtual void wake() const = 0;

    /** The frame that has waited longest. */
    virtual std::optional<CapturedFrame> take_oldest() = 0;
    /** The newest frame; those before it are let go and count as dropped. */
    virtual std::optional<CapturedFrame> take_newest() = 0;
    /** Lets all frames but the newest go. */
    virtual void keep_newest() = 0;
    /** One more frame in flight than max-buffers, from now on. */
    virtual void add_credit() = 0;
    /** Any thread. */
    virtual void set_cursor(CursorMode mode) = 0;

    /** What is captured, for messages: "session 'game'". Any thread. */
    virtual std::string name() const = 0;
    /** Of its pictures, in pixels, as last known. Any thread. */
    virtual std::pair<uint32_t, uint32_t> size() const = 0;
    /** Any thread. */
    virtual RefreshRate refresh() const = 0;
    /** How it ended, if it has. Any thread. */
    virtual std::optional<SessionEnd> end() const = 0;

    /**
     * The formats among which the consumer may choose, best first; empty where pictures come as
     * they are. Any thread.
     */
    virtual std::vector<PictureFormat> formats() const { return {}; }
    /**
     * Later pictures are of this one of formats(). Where that turns out to be impossible it is an
     * error, and formats() has it no more.
     */
    virtual Result<void> choose(const PictureFormat&) { return {}; }

    /**
     * Later pictures are in memory of downstream, where it makes DMA-BUFs and the source can fill
     * those. Once caps are agreed on. For sources that make memory.
     */
    virtual void use_memory(const MemoryProposal&) {}
    /** Why the source's pictures are not in memory of downstream; empty where nobody asked. */
    virtual std::string own_memory_reason() const { return {}; }

    /** Says what downstream reads; empty: anything. For sources whose pictures come as they are. */
    virtual void set_formats(const std::vector<DrmFormat>& /*readable*/) {}
    /** Path of the GPU that the pictures are on; empty without one. Any thread. */
    virtual std::string device() const { return {}; }

    /** Asks for pictures of another size; an error where the source can't change it. */
    virtual Result<void> resize(uint32_t width, uint32_t height) = 0;

    /** Takes one input event, for a picture of the given size. Any thread. */
    virtual Result<void> inject(InputActions actions, uint32_t width, uint32_t height) = 0;
};

}  // namespace stepscope
