// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <utility>

#include "frame_server.hpp"

namespace stepscope {

/**
 * The server's lock, and what is to be done once it is free: the last reference to a lease may call
 * into GStreamer, and a handler into the server.
 */
class FrameServer::Work {
public:
    explicit Work(FrameServer& server) : server_(server), lock_(server.mutex_) {}
    ~Work() { finish(); }
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

    std::unique_lock<std::mutex>& lock() { return lock_; }

    void drop_later(LeasePtr lease) { leases_.push_back(std::move(lease)); }
    void connected(const ConsumerInfo& info) { connected_.push_back(info); }
    void disconnected(const ConsumerInfo& info, const std::string& reason) {
        disconnected_.emplace_back(info, reason);
    }
    void turned_away(const std::string& reason) { turned_away_.push_back(reason); }
    void inject(uint64_t consumer, uint64_t number, const wire::Input& input) {
        inputs_.push_back({consumer, number, input});
    }
    void release_with(LeasePtr lease, SyncFile fence) {
        fences_.emplace_back(std::move(lease), std::move(fence));
    }

    /** Unlocks, does what was put off, and locks again. */
    void finish_and_relock() {
        finish();
        lock_.lock();
    }

private:
    struct Injection {
        uint64_t consumer;
        uint64_t number;
        wire::Input input;
    };

    void finish() {
        server_.reap(*this);
        lock_.unlock();
        for (const ConsumerInfo& info : std::exchange(connected_, {})) {
            server_.handler_.handle_connected(info);
        }
        for (const Injection& one : std::exchange(inputs_, {})) {
            if (auto done = server_.handler_.handle_input(one.input); !done) {
                server_.refuse(one.consumer, one.number, wire::Input::type, done.error().message);
            }
        }
        for (auto& [lease, fence] : std::exchange(fences_, {})) {
            if (!lease->take_release_fence(fence)) {
                server_.drain(std::move(fence), std::move(lease));
            }
        }
        for (const auto& [info, reason] : std::exchange(disconnected_, {})) {
            server_.handler_.handle_disconnected(info, reason);
        }
        for (const std::string& reason : std::exchange(turned_away_, {})) {
            server_.handler_.handle_turned_away(reason);
        }
        leases_.clear();
    }

    FrameServer& server_;
    std::unique_lock<std::mutex> lock_;
    std::vector<LeasePtr> leases_;
    std::vector<ConsumerInfo> connected_;
    std::vector<std::pair<ConsumerInfo, std::string>> disconnected_;
    std::vector<std::string> turned_away_;
    std::vector<Injection> inputs_;
    std::vector<std::pair<LeasePtr, SyncFile>> fences_;
};

}  // namespace stepscope
