// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/frame_wire.hpp"
#include "base/sync_file.hpp"
#include "base/unique_fd.hpp"
#include "damage.hpp"

namespace stepscope {

/** Who a consumer is, for messages to people. */
struct ConsumerInfo {
    uint64_t id = 0;  // of the connection
    pid_t pid = 0;
    std::string name;
    bool steps = false;  // it drives the game
};

/** What consumers hold of a frame: the memory goes back when the last of them drops it. */
class FrameLease {
public:
    virtual ~FrameLease() = default;
    /**
     * The memory may be written once the fence has signalled. False if that is to be waited for
     * before the lease is dropped. Called without locks; never blocks.
     */
    virtual bool take_release_fence(SyncFile& fence) = 0;
};
using LeasePtr = std::shared_ptr<FrameLease>;

/** A consumer's step has begun: what the game is to get first. */
struct BegunStep {
    uint64_t consumer = 0;
    uint64_t first_number = 0;  // of the inputs, as its connection counts them
    std::vector<wire::Input> inputs;
};

static_assert(kMaxDamage == wire::kMaxDamage);

/** What has changed since the frame that a consumer got last, while frames were left out for it. */
class UnseenChanges {
public:
    /** A frame that the consumer does not get. */
    void note_dropped(const wire::Frame& frame) {
        if ((frame.flags & wire::frame_repeated) != 0) {
            return;
        }
        damage_ = new_picture_ ? join_damage(std::move(damage_), areas_of(frame)) : areas_of(frame);
        new_picture_ = true;
    }
    /** Makes `frame`, which is sent now, say what differs for this consumer. */
    void add_to(wire::Frame& frame) {
        if (!std::exchange(new_picture_, false)) {
            return;
        }
        if ((frame.flags & wire::frame_repeated) == 0) {
            damage_ = join_damage(std::move(damage_), areas_of(frame));
        }
        frame.flags &= ~uint32_t{wire::frame_repeated};
        frame.damage.clear();
        for (const PictureArea& area : std::exchange(damage_, {})) {
            frame.damage.push_back({area.x, area.y, area.width, area.height});
        }
    }
    /** The next frame has nothing to do with the one before. */
    void forget() {
        new_picture_ = true;
        damage_.clear();
    }

private:
    static Damage areas_of(const wire::Frame& frame) {
        Damage damage;
        for (const wire::Rectangle& area : frame.damage) {
            damage.push_back({area.x, area.y, area.width, area.height});
        }
        return damage;
    }

    bool new_picture_ = true;  // at least one that the consumer has not seen
    Damage damage_;
};

/** One connection, as FrameServer keeps it; guarded by its mutex. */
struct FrameConsumer {
    using Clock = std::chrono::steady_clock;

    struct Outgoing {
        std::vector<std::byte> bytes;
        std::vector<UniqueFd> fds;
    };

    ConsumerInfo info;
    UniqueFd socket;
    bool ready = false;  // it has said hello
    Clock::time_point hello_deadline;
    uint64_t capabilities = 0;

    uint32_t credits = 0;
    std::map<uint64_t, LeasePtr> held;  // by frame
    uint32_t stream = 0;                // the one that was announced
    std::set<uint32_t> slots;           // those that were
    uint64_t seen = 0;                  // newest frame that was sent
    uint32_t dropped = 0;               // since then
    UnseenChanges unseen;
    bool ended = false;  // was told so: it gets nothing more

    uint64_t inputs = 0;             // messages so far
    std::vector<wire::Input> kept;   // until the next step
    std::optional<uint64_t> asked;   // sequence of a step that has not begun
    std::optional<uint64_t> taking;  // of one that has, and has no frame yet

    std::deque<Outgoing> waiting;  // for the consumer to read

    /** Whether frames are for it. */
    bool active() const { return ready && socket && !ended; }
};

}  // namespace stepscope
