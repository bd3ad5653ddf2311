// SPDX-License-Identifier: LGPL-2.1-or-later
// What the producer does: streams, slots, frames, waiting. Reading is in frame_server_input.cpp.
#include "frame_server.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <format>

#include "base/packet_socket.hpp"
#include "frame_server_work.hpp"

namespace stepscope {
namespace {

/** Packets that may wait for a consumer to read. */
constexpr size_t kMaxWaiting = 256;

}  // namespace

FrameServer::FrameServer(FrameServerSettings settings, FrameServerHandler& handler)
    : settings_(std::move(settings)), handler_(handler) {}

FrameServer::~FrameServer() {
    end(wire::EndReason::stopped, 0, "the producer stopped");
    stopping_ = true;
    if (thread_.joinable()) {
        eventfd_write(wake_.get(), 1);
        thread_.join();
    }
    std::map<uint64_t, Draining> draining;
    {
        Work work(*this);
        for (auto& [id, consumer] : consumers_) {
            drop(work, *consumer, wire::code_internal, "the producer stopped", false);
        }
        if (current_) {
            work.drop_later(std::move(current_->lease));
            current_.reset();
        }
        draining.swap(draining_);
    }
}

uint32_t FrameServer::set_stream(wire::Stream stream) {
    Work work(*this);
    stream.stream = stream_.stream + 1;
    stream_ = stream;
    return stream.stream;
}

uint32_t FrameServer::add_slot(wire::Slot slot, std::vector<UniqueFd> files) {
    Work work(*this);
    slot.slot = next_slot_++;
    slot.stream = stream_.stream;
    const uint32_t number = slot.slot;
    slots_.emplace(number, SlotEntry{slot, std::move(files)});
    return number;
}

void FrameServer::remove_slot(uint32_t slot) {
    Work work(*this);
    slots_.erase(slot);
    for (auto& [id, consumer] : consumers_) {
        if (consumer->slots.erase(slot) > 0 && !consumer->ended) {
            send(work, *consumer, wire::SlotGone{slot});
        }
    }
}

bool FrameServer::needs_complete_frames() {
    std::lock_guard lock(mutex_);
    return std::ranges::any_of(consumers_, [](const auto& entry) {
        return entry.second->active() &&
               (entry.second->capabilities & wire::capability_acquire_fence) == 0;
    });
}

void FrameServer::send(Work& work, FrameConsumer& consumer, const wire::Message& message) {
    send(work, consumer, wire::encode(message), {});
}

void FrameServer::send(Work& work, FrameConsumer& consumer, std::span<const std::byte> bytes,
                       std::span<const int> fds) {
    if (!consumer.socket) {
        return;
    }
    if (consumer.waiting.empty()) {
        auto sent = send_packet(consumer.socket.get(), bytes, fds);
        if (!sent) {
            drop(work, consumer, wire::code_internal, sent.error().message, false);
            return;
        }
        if (*sent) {
            return;
        }
        watch(consumer.socket.get(), consumer.info.id, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    if (consumer.waiting.size() >= kMaxWaiting) {
        drop(work, consumer, wire::code_slow,
             std::format("it does not read: {} packets wait", consumer.waiting.size()), false);
        return;
    }
    FrameConsumer::Outgoing outgoing{{bytes.begin(), bytes.end()}, {}};
    for (int fd : fds) {
        outgoing.fds.push_back(UniqueFd::duplicate(fd));
        if (!outgoing.fds.back()) {
            drop(work, consumer, wire::code_internal, "the producer has no descriptors left");
            return;
        }
    }
    consumer.waiting.push_back(std::move(outgoing));
}

// The consumer stays in the map, without a socket, until the work at hand is done.
void FrameServer::drop(Work& work, FrameConsumer& consumer, wire::Code code,
                       const std::string& text, bool tell) {
    if (!consumer.socket) {
        return;
    }
    if (tell && consumer.waiting.empty()) {
        static_cast<void>(
            send_packet(consumer.socket.get(), wire::encode(wire::Failure{code, text}), {}));
    }
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, consumer.socket.get(), nullptr);
    consumer.socket.reset();
    for (auto& [frame, lease] : consumer.held) {
        work.drop_later(std::move(lease));
    }
    consumer.held.clear();
    consumer.waiting.clear();
    if (consumer.ready) {
        work.disconnected(consumer.info, text);
    } else {
        work.turned_away(text);
    }
    dead_.push_back(consumer.info.id);
    changed_.notify_all();
}

void FrameServer::reap(Work&) {
    for (uint64_t id : std::exchange(dead_, {})) {
        consumers_.erase(id);
    }
}

void FrameServer::send_frame(Work& work, FrameConsumer& consumer, const wire::Frame& frame,
                             int fence, const LeasePtr& lease) {
    const bool dmabuf = stream_.memory == static_cast<uint32_t>(wire::Memory::dmabuf);
    if ((consumer.capabilities & (dmabuf ? wire::capability_dmabuf : wire::capability_memfd)) ==
        0) {
        drop(work, consumer, wire::code_unsupported,
             std::format("the pictures are in {} memory, which it can't read",
                         dmabuf ? "DMA-BUF" : "shared"));
        return;
    }
    const auto slot = slots_.find(frame.slot);
    if (slot == slots_.end()) {
        return;
    }
    wire::PacketWriter packet;
    std::vector<int> fds;
    if (consumer.stream != stream_.stream) {
        consumer.stream = stream_.stream;
        consumer.unseen.forget();
        packet.add(stream_);
    }
    if (consumer.slots.insert(frame.slot).second) {
        packet.add(slot->second.slot, static_cast<uint16_t>(slot->second.files.size()));
        for (const UniqueFd& file : slot->second.files) {
            fds.push_back(file.get());
        }
    }
    wire::Frame own = frame;
    consumer.unseen.add_to(own);
    own.dropped = std::exchange(consumer.dropped, 0);
    own.answers = consumer.taking.value_or(0);
    consumer.taking.reset();
    if (own.dropped > 0) {
        own.flags |= wire::frame_discontinuity;
    }
    const bool fenced = fence >= 0 && (consumer.capabilities & wire::capability_acquire_fence) != 0;
    if (fenced) {
        fds.push_back(fence);
    }
    packet.add(own, fenced ? 1 : 0);
    --consumer.credits;
    consumer.seen = frame.frame;
    consumer.held.emplace(frame.frame, lease);
    ++stats_.sent;
    send(work, consumer, packet.bytes(), fds);
}

void FrameServer::send_current(Work& work, FrameConsumer& consumer) {
    if (current_ && consumer.active() && consumer.credits > 0 &&
        consumer.seen < current_->frame.frame) {
        send_frame(work, consumer, current_->frame, current_->fence.get(), current_->lease);
        changed_.notify_all();
    }
}

void FrameServer::deliver(wire::Frame frame, int fence, const LeasePtr& lease) {
    Work work(*this);
    frame.frame = next_frame_++;
    for (auto& [id, consumer] : consumers_) {
        if (!consumer->active()) {
            continue;
        }
        if (consumer->credits == 0) {
            // In mode steps it gets it as soon as it can take it.
            if (settings_.mode != wire::Mode::steps) {
                ++consumer->dropped;
                consumer->unseen.note_dropped(frame);
                ++stats_.dropped;
            }
            continue;
        }
        send_frame(work, *consumer, frame, fence, lease);
    }
    if (settings_.mode == wire::Mode::steps) {
        if (current_) {
            work.drop_later(std::move(current_->lease));
        }
        current_ = Current{frame, UniqueFd::duplicate(fence), lease};
    }
}

FrameConsumer* FrameServer::stepper() {
    for (auto& [id, consumer] : consumers_) {
        if (consumer->info.steps && consumer->active()) {
            return consumer.get();
        }
    }
    return nullptr;
}

/** True if there is somebody, and nobody lacks the current frame or a credit for the next one. */
bool FrameServer::everybody_can_take_one() {
    bool anybody = false;
    for (const auto& [id, consumer] : consumers_) {
        if (!consumer->active()) {
            continue;
        }
        anybody = true;
        if (consumer->credits == 0 || (current_ && consumer->seen < current_->frame.frame)) {
            return false;
        }
    }
    return anybody;
}

void FrameServer::drop_who_keeps_waiting(Work& work, Clock::time_point began) {
    const auto limit = settings_.consumer_timeout;
    const auto active =
        std::ranges::count_if(consumers_, [](const auto& entry) { return entry.second->active(); });
    if (limit.count() == 0 || active < 2 || Clock::now() < began + limit) {
        return;
    }
    for (auto& [id, consumer] : consumers_) {
        // The one that steps may take its time: it is whom the others wait for.
        if (consumer->active() && consumer->credits == 0 && !consumer->info.steps) {
            drop(work, *consumer, wire::code_slow,
                 std::format("it kept the others waiting: no credit for {} ms", limit.count()));
        }
    }
}

bool FrameServer::wait_ready() {
    if (settings_.mode != wire::Mode::credits) {
        std::lock_guard lock(mutex_);
        return !interrupted_;
    }
    Work work(*this);
    const auto began = Clock::now();
    while (!interrupted_) {
        if (everybody_can_take_one()) {
            return true;
        }
        changed_.wait_for(work.lock(), std::chrono::milliseconds(250));
        drop_who_keeps_waiting(work, began);
        work.finish_and_relock();
    }
    return false;
}

std::optional<BegunStep> FrameServer::wait_step() {
    Work work(*this);
    auto began = Clock::now();
    while (!interrupted_) {
        FrameConsumer* driver = stepper();
        if (driver == nullptr || !driver->asked) {
            began = Clock::now();
        } else if (everybody_can_take_one()) {
            BegunStep step{driver->info.id, driver->inputs - driver->kept.size() + 1,
                           std::exchange(driver->kept, {})};
            driver->taking = std::exchange(driver->asked, std::nullopt);
            ++stats_.steps;
            if (current_) {
                work.drop_later(std::move(current_->lease));
                current_.reset();
            }
            return step;
        }
        changed_.wait_for(work.lock(), std::chrono::milliseconds(250));
        drop_who_keeps_waiting(work, began);
        work.finish_and_relock();
    }
    return std::nullopt;
}

void FrameServer::interrupt(bool interrupted) {
    std::lock_guard lock(mutex_);
    interrupted_ = interrupted;
    changed_.notify_all();
}

void FrameServer::refuse(uint64_t consumer, uint64_t number, uint16_t what,
                         const std::string& text) {
    Work work(*this);
    if (auto found = consumers_.find(consumer); found != consumers_.end()) {
        send(work, *found->second, wire::Refused{number, what, text});
    }
}

void FrameServer::disconnect(uint64_t consumer, wire::Code code, const std::string& text) {
    Work work(*this);
    if (auto found = consumers_.find(consumer); found != consumers_.end()) {
        drop(work, *found->second, code, text);
    }
}

void FrameServer::end(wire::EndReason reason, int32_t value, const std::string& text) {
    Work work(*this);
    if (end_) {
        return;
    }
    const wire::End end{static_cast<uint32_t>(reason), value, text};
    end_ = end;
    for (auto& [id, consumer] : consumers_) {
        if (consumer->active()) {
            consumer->ended = true;
            send(work, *consumer, end);
        }
    }
}

void FrameServer::begin_again() {
    Work work(*this);
    end_.reset();
    if (current_) {
        work.drop_later(std::move(current_->lease));
        current_.reset();
    }
}

FrameServerStats FrameServer::stats() {
    std::lock_guard lock(mutex_);
    FrameServerStats stats = stats_;
    for (const auto& [id, consumer] : consumers_) {
        stats.consumers += consumer->ready ? 1 : 0;
        stats.held += consumer->held.size();
    }
    return stats;
}

}  // namespace stepscope
