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
    /** There is to be sound. */
    Result<void> request_sound();
    /** The pad that it comes from; makes its source: stepsoundsrc in lock-step, else PipeWire's. */
    Result<GstPtr<GstPad>> sound_pad(bool lockstep);
    void remove_sound();
    bool has_sound() const;
    /** Each step has its sound: the source is stepsoundsrc. */
    bool sound_is_stepped() const;
    /** Ends the sound, as the pictures have ended by themselves: now, or where it is stepped at
     * `end` of its time. */
    void end_sound(GstClockTime end);

    /** Lets them capture the session of that name, in the bin's state, with `offset` added to the
     * times of what comes without PipeWire. */
    void start(const std::string& session, CaptureBy capture, GstClockTimeDiff offset);
    /** Puts them into READY; whoever changes the bin's state meanwhile does not wait for that. */
    void stop();
    /** Puts them into NULL. */
    void close();
    /** Whether an error is of a source of ours, and says what to do. */
    bool speaks_for_itself(GstMessage* error) const;
    /** What an error of PipeWire's source means. */
    static Error explain(GstMessage* message);
    bool started() const { return !gst_element_is_locked_state(video_) || pipewire_started_; }

private:
    Result<GstElement*> make_pipewire(const char* name, const char* caps,
                                      const char* stream_properties);
    void start_one(GstElement* element);
    static void stop_one(GstElement* element, GstState state);
    void drop_sound();
    GstPtr<GstElement> running_sound() const;
    std::vector<GstElement*> all() const;

    GstBin* const bin_;
    GstElement* video_ = nullptr;
    mutable std::mutex mutex_;  // guards the next four
    GstElement* pushed_ = nullptr;
    bool sound_wanted_ = false;
    bool sound_stepped_ = false;
    GstPtr<GstElement>
        sound_;  // kept: a bin that is disposed of drops its children before its pads
    std::atomic<bool> pipewire_started_ = false;
};

}  // namespace stepscope
