// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "gst/gst_ptr.hpp"

namespace stepscope {

/** How pictures leave the session. */
enum class CaptureBy { pull, push };

/**
 * The sources inside a steamlaunchsrc: wlscreencopysrc always, PipeWire's where they are asked for.
 * Their states follow the bin's only between start() and stop(), as a session is needed for them.
 */
class LaunchSources {
public:
    /** Adds wlscreencopysrc to `bin`, which must outlive this object. */
    explicit LaunchSources(GstBin* bin);
    LaunchSources(const LaunchSources&) = delete;
    LaunchSources& operator=(const LaunchSources&) = delete;

    /** wlscreencopysrc; borrowed. */
    GstElement* video() const { return video_; }

    /** The pad that pictures come from; makes its source if need be. */
    Result<GstPtr<GstPad>> video_pad(CaptureBy capture);
    /** The pad that the game's sound comes from; makes its source. */
    Result<GstPtr<GstPad>> add_sound();
    void remove_sound();
    bool has_sound() const;
    /** Ends the sound, as the pictures have ended by themselves. */
    void end_sound();

    /** Lets them capture the session of that name, in the bin's state. */
    void start(const std::string& session, CaptureBy capture);
    /** Puts them into READY; whoever changes the bin's state meanwhile does not wait for that. */
    void stop();
    /** Puts them into NULL. */
    void close();
    /** What an error of PipeWire's source means. */
    static Error explain(GstMessage* message);
    bool started() const { return !gst_element_is_locked_state(video_) || pipewire_started_; }

private:
    Result<GstElement*> make_pipewire(const char* name, const char* caps,
                                      const char* stream_properties);
    void start_one(GstElement* element);
    static void stop_one(GstElement* element, GstState state);
    std::vector<GstElement*> all() const;

    GstBin* const bin_;
    GstElement* video_ = nullptr;
    mutable std::mutex mutex_;  // guards the next two
    GstElement* pushed_ = nullptr;
    GstPtr<GstElement>
        sound_;  // kept: a bin that is disposed of drops its children before its pads
    std::atomic<bool> pipewire_started_ = false;
};

}  // namespace stepscope
