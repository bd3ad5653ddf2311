// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "buffer_returns.hpp"
#include "capture_output.hpp"
#include "picture_demand.hpp"

namespace stepscope {

/** What a session offers to PipeWire. */
struct PipewireOffer {
    std::string session;
    /** What people see in lists: the game's command. */
    std::string description;
    bool video = false;
    bool sound = false;
    /** A node has come or gone. Called from the loop. */
    std::function<void()> changed;
};

/** Where pictures come from and their memory goes back to. All borrowed. */
struct PictureServices {
    CaptureOutput& output;
    BufferLending& lending;
    BufferReturns& returns;
    const Renderer& renderer;
};

/** Nodes for demands that a session can have. */
inline constexpr size_t kMaxDemandedNodes = 16;

/** A node as PipeWire knows it: object.serial, 0 while there is no such node. */
struct PipewireNode {
    std::string name;
    uint64_t serial = 0;

    bool operator==(const PipewireNode&) const = default;
};

/** The session's nodes as PipeWire knows them: object.serial, 0 while there is no such node. */
struct PipewireNodes {
    std::string video;
    uint64_t video_serial = 0;
    std::string sound;  // empty: no sink of the session's own
    uint64_t sound_serial = 0;
};

/**
 * The session's nodes in the user's PipeWire: a video source, and what else the offer says. Does
 * without a daemon, says so once, and comes back with it.
 *
 * All of it runs on the compositor's thread and loop.
 */
class PipewireSession {
public:
    virtual ~PipewireSession() = default;
    /** Makes the video node, if there is none yet. */
    virtual void offer_video() = 0;
    virtual PipewireNodes nodes() const = 0;
    /**
     * Makes a node of its own for pictures like that, or shares the one that there is. It goes some
     * seconds after it was last wanted, by anyone here or by a linked consumer. False if there are
     * too many.
     */
    virtual bool want(const PictureDemand& demand) = 0;
    /** Undoes a want(). */
    virtual void release(const PictureDemand& demand) = 0;
    /** Name empty if there is none. */
    virtual PipewireNode node_for(const PictureDemand& demand) const = 0;
    /** Waits, no longer than that, until the daemon has made what the game will look for. */
    virtual void wait_until_ready(int milliseconds) = 0;
};

/** Names of a session's nodes. */
inline std::string video_node_name(const std::string& session) {
    return "stepscope." + session;
}
inline std::string video_node_name(const std::string& session, const PictureDemand& demand) {
    return video_node_name(session) + "." + to_string(demand);
}
inline std::string sound_node_name(const std::string& session) {
    return "stepscope." + session + ".sound";
}

/** Whether this build has PipeWire. */
bool pipewire_built_in();

/** Fault::unsupported where this build has no PipeWire. */
Result<std::unique_ptr<PipewireSession>> create_pipewire_session(wl_display* display,
                                                                 const PipewireOffer& offer,
                                                                 const PictureServices& services);

}  // namespace stepscope
