// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <pipewire/stream.h>
#include <spa/node/io.h>

#include <cstdint>

#include "base/refresh_rate.hpp"

namespace stepscope {

/** Drives the graph of a stream's node: one cycle for each picture, with the commits' clock. */
class PipewireCycle {
public:
    /** Borrowed; stop() before it goes. */
    void use(pw_stream* stream) { stream_ = stream; }
    void stop();
    /** PipeWire's area for the driver's clock, by which all nodes of a graph tell the time. */
    void set_position(void* area, uint32_t size, const RefreshRate& rate);

    /** The number of the next picture. */
    uint64_t next_picture() { return ++picture_; }
    /** Shows it to the graph. `rate` is what others may expect. */
    void begin(int64_t time_ns, const RefreshRate& rate);
    /** All consumers that run within the cycle have done so. */
    void end();
    /** Whether some have not. */
    bool running() const { return running_; }
    /** Whether one stands still. */
    bool stalled(int64_t now_ns) const;
    /** Pictures before that number can't come to a consumer any more. */
    uint64_t done() const { return done_; }

private:
    void set_clock(const RefreshRate& rate);

    pw_stream* stream_ = nullptr;
    spa_io_position* position_ = nullptr;  // PipeWire's, while there is one
    uint64_t picture_ = 0;
    uint64_t done_ = 0;
    bool running_ = false;
    int64_t since_ns_ = 0;
};

}  // namespace stepscope
