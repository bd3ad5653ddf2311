// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/frame_wire.hpp"
#include "base/packet_socket.hpp"

namespace stepscope {

/** A message of the producer, with its descriptors. */
struct FrameEvent {
    wire::Message message;
    std::vector<UniqueFd> fds;
};

/**
 * A consumer's end of the frame socket: the connection and its messages. next() is for one thread,
 * the rest for any; nothing blocks but next() and connect().
 */
class FrameClient {
public:
    using Clock = std::chrono::steady_clock;

    /** Connects to the path, or takes a connection over, and says hello. */
    static Result<std::shared_ptr<FrameClient>> connect(const std::string& path, UniqueFd fd,
                                                        const wire::Hello& hello,
                                                        std::chrono::milliseconds timeout);

    const wire::Welcome& welcome() const { return welcome_; }

    /**
     * The next message; nothing at the deadline or after wake(). Fault::gone with the producer's
     * reason at the end of the connection.
     */
    Result<std::optional<FrameEvent>> next(std::optional<Clock::time_point> deadline);

    /** Messages in one packet; `fence` belongs to the last of them. */
    void send(const std::vector<wire::Message>& messages, UniqueFd fence = {});
    /** Ends next() early. */
    void wake();
    /** Nothing is sent or received from here on; the producer takes everything back. */
    void close();

private:
    explicit FrameClient(UniqueFd socket);
    Result<void> greet(const wire::Hello& hello, std::chrono::milliseconds timeout);
    Result<bool> receive();
    void flush();

    struct Outgoing {
        std::vector<std::byte> bytes;
        UniqueFd fence;
    };

    const UniqueFd socket_;
    const UniqueFd wake_;
    wire::Welcome welcome_;
    std::deque<FrameEvent> events_;  // of the thread that calls next()

    std::mutex mutex_;               // guards the rest
    std::deque<Outgoing> outgoing_;  // for the producer to read
    bool closed_ = false;
};

}  // namespace stepscope
