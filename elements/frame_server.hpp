// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <span>
#include <thread>

#include "frame_consumer.hpp"

namespace stepscope {

/** What a server tells its user; without locks, on the server's thread or on one that calls it. */
class FrameServerHandler {
public:
    virtual ~FrameServerHandler() = default;
    virtual void handle_connected(const ConsumerInfo& consumer) = 0;
    virtual void handle_disconnected(const ConsumerInfo& consumer, const std::string& reason) = 0;
    /** Somebody who did not become a consumer. */
    virtual void handle_turned_away(const std::string& reason) = 0;
    /** Input that is to reach the game now. */
    virtual Result<void> handle_input(const wire::Input& input) = 0;
};

struct FrameServerSettings {
    std::string path;  // empty: `fd`
    UniqueFd fd;       // a listening socket, or a connection
    wire::Mode mode = wire::Mode::live;
    uint32_t max_consumers = 16;
    std::chrono::milliseconds consumer_timeout{10'000};  // 0: none
};

struct FrameServerStats {
    uint64_t consumers = 0;  // now
    uint64_t held = 0;       // frames, now
    uint64_t sent = 0;       // frames, each consumer counted
    uint64_t dropped = 0;    // likewise
    uint64_t steps = 0;
};

/**
 * The producer's end of the frame socket (docs/frame-socket.md): consumers, their credits, what
 * they hold, and steps. Knows nothing of GStreamer.
 *
 * deliver() and the waits are for one thread; the rest for any. A thread of its own reads from
 * consumers.
 */
class FrameServer {
public:
    static Result<std::unique_ptr<FrameServer>> create(FrameServerSettings settings,
                                                       FrameServerHandler& handler);
    /** Tells consumers that it stops, unless they were told of an end. Frees all leases. */
    ~FrameServer();
    FrameServer(const FrameServer&) = delete;
    FrameServer& operator=(const FrameServer&) = delete;

    /** What the pictures from here on look like; the number of the stream is given here. */
    uint32_t set_stream(wire::Stream stream);
    /** Memory of the current stream; its number is given here, the descriptors are kept. */
    uint32_t add_slot(wire::Slot slot, std::vector<UniqueFd> files);
    /** No frame will use it again. */
    void remove_slot(uint32_t slot);

    /** True if a consumer needs frames to be complete before they are sent. */
    bool needs_complete_frames();

    /**
     * Waits until the next frame may be delivered: in mode credits until all consumers have one,
     * and there is at least one. False if interrupted.
     */
    bool wait_ready();
    /**
     * Sends a frame to all that have a credit. Its number is given here. `fence` is borrowed: a
     * sync_file or -1.
     */
    void deliver(wire::Frame frame, int fence, const LeasePtr& lease);
    /** In mode steps: waits until the consumer that steps asks for the next frame. */
    std::optional<BegunStep> wait_step();

    /** The waits return at once, until it is false again. */
    void interrupt(bool interrupted);

    void refuse(uint64_t consumer, uint64_t number, uint16_t what, const std::string& text);
    /** Tells consumers, and those who connect from here on, that no frame will come. */
    void end(wire::EndReason reason, int32_t value, const std::string& text);
    /**
     * What was delivered is no longer what is shown. After end(): there are frames again, for those
     * who connect from here on; who was told of the end gets none, and is not waited for.
     */
    void begin_again();
    void disconnect(uint64_t consumer, wire::Code code, const std::string& text);

    FrameServerStats stats();
    const std::string& path() const { return settings_.path; }

private:
    using Clock = FrameConsumer::Clock;
    using Consumers = std::map<uint64_t, std::unique_ptr<FrameConsumer>>;

    struct SlotEntry {
        wire::Slot slot;
        std::vector<UniqueFd> files;
    };
    struct Current {
        wire::Frame frame;
        UniqueFd fence;
        LeasePtr lease;
    };
    /** A released frame whose fence is to be waited for. */
    struct Draining {
        SyncFile fence;
        LeasePtr lease;
    };
    /** What must happen without the lock: dropping leases, telling the handler. */
    class Work;

    FrameServer(FrameServerSettings settings, FrameServerHandler& handler);
    Result<void> start();

    // With the lock held, in frame_server.cpp:
    void send(Work& work, FrameConsumer& consumer, std::span<const std::byte> bytes,
              std::span<const int> fds);
    void send(Work& work, FrameConsumer& consumer, const wire::Message& message);
    void send_frame(Work& work, FrameConsumer& consumer, const wire::Frame& frame, int fence,
                    const LeasePtr& lease);
    void send_current(Work& work, FrameConsumer& consumer);
    void drop(Work& work, FrameConsumer& consumer, wire::Code code, const std::string& text,
              bool tell = true);
    void reap(Work& work);
    FrameConsumer* stepper();
    bool everybody_can_take_one();
    void drop_who_keeps_waiting(Work& work, Clock::time_point began);

    // The server's thread, in frame_server_input.cpp:
    void run();
    std::chrono::milliseconds until_next_deadline();
    void accept_all();
    void add_connection(UniqueFd socket);
    void read(uint64_t id);
    void flush(uint64_t id);
    void drop_who_never_said_hello();
    void finish_draining(uint64_t id);
    bool handle_packet(Work& work, FrameConsumer& consumer, std::span<const std::byte> bytes,
                       std::vector<UniqueFd>& fds);
    bool handle(Work& work, FrameConsumer& consumer, const wire::Hello& hello);
    bool handle(Work& work, FrameConsumer& consumer, const wire::Credits& credits);
    bool handle(Work& work, FrameConsumer& consumer, const wire::Input& input);
    bool handle(Work& work, FrameConsumer& consumer, const wire::Step& step);
    bool handle_release(Work& work, FrameConsumer& consumer, uint64_t frame, UniqueFd fence);
    /** Drops the lease once the fence has signalled. Without the lock. */
    void drain(SyncFile fence, LeasePtr lease);
    void watch(int fd, uint64_t id, uint32_t events, int operation);

    const FrameServerSettings settings_;
    FrameServerHandler& handler_;
    UniqueFd listener_;
    UniqueFd epoll_;
    UniqueFd wake_;
    UniqueFd spare_;  // given up when there are no more descriptors, to turn somebody away
    ino_t inode_ = 0;
    std::thread thread_;
    std::atomic<bool> stopping_ = false;

    std::mutex mutex_;  // guards the rest
    std::condition_variable changed_;
    Consumers consumers_;
    std::vector<uint64_t> dead_;  // to be erased by reap()
    std::map<uint64_t, Draining> draining_;
    uint64_t next_id_ = 16;
    wire::Stream stream_;  // number 0: none yet
    std::map<uint32_t, SlotEntry> slots_;
    uint32_t next_slot_ = 1;
    uint64_t next_frame_ = 1;
    std::optional<Current> current_;  // in mode steps: for those who join
    std::optional<wire::End> end_;
    bool interrupted_ = false;
    FrameServerStats stats_;
};

}  // namespace stepscope
